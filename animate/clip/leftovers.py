"""Find and remove what killed runs leave in a folder: unfinished work and half-written files.

Only what is surely of this program: a work folder by its marker (`marker.read_marker`), a partial
file and the lock beside an output by the checksum in their names (`files.is_partial`, `is_claim`).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from animate.clip.marker import is_work_folder
from animate.clip.work_folder import SUFFIX, remove, remove_partial, try_lock
from animate.errors import WorkError
from animate.files import is_claim, is_partial


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """Something that can go."""

    path: Path
    what: Literal["unfinished work", "half-written", "lock"]
    size: int
    """Bytes."""
    busy: bool
    """True while a run that lives still holds it."""


def leftovers(folder: Path, *, recursive: bool = False) -> Iterator[Leftover]:
    """Everything left in `folder`, or `folder` itself where it is a work folder.

    Half-written numbered images count as in the folder that their own folder is in.
    Raises WorkError when it is no folder or cannot be read.
    """
    try:
        if is_work_folder(folder):
            yield _work(folder)
            return
        entries = sorted(folder.iterdir())
    except OSError as reason:
        raise WorkError(
            f"{folder} cannot be looked into: {(reason.strerror or str(reason)).lower()}"
        ) from reason
    for path in entries:
        if path.is_symlink():
            continue
        if path.name.startswith(".") and path.name.endswith(SUFFIX) and is_work_folder(path):
            yield _work(path)
        elif is_partial(path.name):
            yield _held_file(path, "half-written")
        elif is_claim(path.name):
            yield _held_file(path, "lock")
        elif path.is_dir():
            yield from leftovers(path, recursive=True) if recursive else _gathered(path)


def throw_away(leftover: Leftover) -> list[str] | None:
    """Remove it; returns the names of foreign things in it, which stay, or None where a run holds
    it by now and all of it stays.

    Raises WorkError when it cannot be removed.
    """
    try:
        if leftover.what != "unfinished work":
            if _locked(leftover.path):
                return None
            remove_partial(leftover.path)
            return []
        with suppress(FileNotFoundError):  # nobody has worked in it
            lock = try_lock(leftover.path)
            if lock is None:
                return None
            try:
                return remove(leftover.path)
            finally:
                os.close(lock)
        return remove(leftover.path)
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


def _held_file(path: Path, what: Literal["half-written", "lock"]) -> Leftover:
    return Leftover(path=path, what=what, size=_size(path), busy=_locked(path))


def _work(path: Path) -> Leftover:
    busy = False
    with suppress(OSError):  # no lock: nobody works in it
        lock = try_lock(path)
        busy = lock is None
        if lock is not None:
            os.close(lock)
    return Leftover(path=path, what="unfinished work", size=_size(path), busy=busy)


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
