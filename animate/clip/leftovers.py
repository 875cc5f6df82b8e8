"""Find and remove what killed runs leave in a folder: unfinished work and half-written files.

Only what is surely of this program: a work folder by its marker (`marker.read_marker`), a partial
file and the lock beside an output by the checksum in their names (`files.is_partial`, `is_claim`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from animate.clip.claim import is_lock_file
from animate.clip.marker import is_work_folder
from animate.clip.work_folder import SUFFIX, remove, remove_partial, try_lock
from animate.errors import WorkError
from animate.files import is_claim, is_partial


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """Something that can go."""

    path: Path
    kind: Literal["unfinished work", "half-written", "lock"]
    size: int
    """Bytes."""
    busy: bool
    """True while a run that lives still holds it."""


def leftovers(
    folder: Path, *, recursive: bool = False, warn: Callable[[str], None] | None = None
) -> Iterator[Leftover]:
    """Everything left in `folder`, or `folder` itself where it is a work folder.

    Half-written numbered images count as in the folder that their own folder is in. What cannot be
    looked into in there, such as the things of another user, is named to `warn` and passed by.
    Raises WorkError when `folder` itself is no folder or cannot be read.
    """
    try:
        if is_work_folder(folder):
            yield _work(folder)
            return
        entries = sorted(folder.iterdir())
    except OSError as reason:
        raise WorkError(_words(folder, reason)) from reason
    for path in entries:
        try:
            yield from _below(path, recursive, warn)
        except (OSError, WorkError) as reason:
            words = str(reason) if isinstance(reason, WorkError) else _words(path, reason)
            if warn is not None and not isinstance(reason, FileNotFoundError):
                warn(f"{words}; passed by")


def _below(path: Path, recursive: bool, warn: Callable[[str], None] | None) -> Iterator[Leftover]:
    """Leftovers that an entry of a folder is or holds; none for links and pipes."""
    state = path.lstat()
    if stat.S_ISDIR(state.st_mode):
        if path.name.startswith(".") and path.name.endswith(SUFFIX) and is_work_folder(path):
            yield _work(path)
        elif is_partial(path.name):
            yield _held_file(path, "half-written")
        else:
            yield from leftovers(path, recursive=True, warn=warn) if recursive else _gathered(path)
    elif stat.S_ISREG(state.st_mode):
        if is_partial(path.name):
            yield _held_file(path, "half-written")
        elif is_claim(path.name) and is_lock_file(state):
            yield _held_file(path, "lock")


def _words(path: Path, reason: OSError) -> str:
    return f"{path} cannot be looked into: {(reason.strerror or str(reason)).lower()}"


def throw_away(leftover: Leftover) -> list[str] | None:
    """Remove it; returns the names of foreign things in it, which stay, or None where a run holds
    it by now and all of it stays.

    Raises WorkError when it cannot be removed.
    """
    try:
        if leftover.kind != "unfinished work":
            if _locked(leftover.path):
                return None
            remove_partial(leftover.path)
            return []
        try:
            lock = try_lock(leftover.path)
        except OSError as reason:
            # Without a lock that is a file, nobody works in it: a link at its name is foreign.
            if reason.errno not in (errno.ENOENT, errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise
            return remove(leftover.path)
        if lock is None:
            return None
        try:
            return remove(leftover.path)
        finally:
            os.close(lock)
    except FileNotFoundError:  # gone meanwhile
        return []
    except OSError as reason:
        raise WorkError(
            f"{leftover.path} cannot be removed: {(reason.strerror or str(reason)).lower()}"
        ) from reason


def _gathered(folder: Path) -> Iterator[Leftover]:
    """Half-written images of `folder`, in its hidden folder (`files.gathered_folder`)."""
    entries: list[Path] = []
    with suppress(OSError):  # nobody asked to look in there
        entries = sorted(folder.iterdir())
    for path in entries:
        if is_partial(path.name, of=folder.name) and not path.is_symlink():
            yield _held_file(path, "half-written")


def _held_file(path: Path, kind: Literal["half-written", "lock"]) -> Leftover:
    return Leftover(path=path, kind=kind, size=_size(path), busy=_locked(path))


def _work(path: Path) -> Leftover:
    busy = False
    with suppress(OSError):  # no lock: nobody works in it
        lock = try_lock(path)
        busy = lock is None
        if lock is not None:
            os.close(lock)
    return Leftover(path=path, kind="unfinished work", size=_size(path), busy=busy)


def _locked(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())
