"""What killed runs leave behind in a folder: their work, and files that were half-written."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from animate.errors import WorkError
from animate.files import PARTIAL, hidden_name
from animate.work.folder import SUFFIX, is_work_folder, remove, try_lock

_HALF_WRITTEN = re.compile(rf"\..+\.[0-9a-f]{{8}}{re.escape(PARTIAL)}")
_HALF_WRITTEN_POSES = re.compile(r"\..+\.[0-9a-f]{32}\.part")
_POSES_SECONDS = 600
"""Pose files are written within seconds, without a lock; older ones have no writer any more."""


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """Something that can go.

    Attributes:
        path: file or folder.
        what: "unfinished work" or "half-written".
        size: bytes.
        busy: whether a run that lives still holds it.
    """

    path: Path
    what: str
    size: int
    busy: bool


def leftovers(folder: Path, *, recursive: bool = False) -> Iterator[Leftover]:
    """What is left in `folder`, or `folder` itself where it is a work folder.

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
        if path.name.startswith(".") and path.name.endswith(SUFFIX) and is_work_folder(path):
            yield _work(path)
        elif _HALF_WRITTEN.fullmatch(path.name):
            yield _half_written(path)
        elif _HALF_WRITTEN_POSES.fullmatch(path.name):
            young = time.time() - path.stat().st_mtime < _POSES_SECONDS
            yield Leftover(path=path, what="half-written", size=_size(path), busy=young)
        elif path.is_dir() and not path.is_symlink():
            yield from leftovers(path, recursive=True) if recursive else _gathered(path)


def throw_away(leftover: Leftover) -> bool:
    """Remove it unless a run holds it by now; returns whether it is gone. Raises WorkError."""
    try:
        if leftover.what == "unfinished work":
            lock = try_lock(leftover.path)
            if lock is None:
                return False
            try:
                remove(leftover.path)
            finally:
                os.close(lock)
        elif leftover.path.is_dir():
            shutil.rmtree(leftover.path)
        else:
            leftover.path.unlink(missing_ok=True)
    except OSError as reason:
        raise WorkError(
            f"{leftover.path} cannot be removed: {(reason.strerror or str(reason)).lower()}"
        ) from reason
    return True


def _gathered(folder: Path) -> Iterator[Leftover]:
    """Half-written images of `folder`, in its hidden folder (`files.gathered_folder`)."""
    stem = _stem(hidden_name(folder / folder.name))
    entries: list[Path] = []
    with suppress(OSError):  # nobody asked to look in there
        entries = sorted(folder.iterdir())
    for path in entries:
        if _HALF_WRITTEN.fullmatch(path.name) and _stem(path) == stem:
            yield _half_written(path)


def _stem(hidden: Path) -> str:
    return hidden.name.rsplit(".", 2)[0]


def _half_written(path: Path) -> Leftover:
    return Leftover(path=path, what="half-written", size=_size(path), busy=_locked(path))


def _work(path: Path) -> Leftover:
    lock = try_lock(path)
    if lock is not None:
        os.close(lock)
    return Leftover(path=path, what="unfinished work", size=_size(path), busy=lock is None)


def _locked(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
