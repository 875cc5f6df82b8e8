"""One run's work folder: who works in it, for which request, and what is worth keeping.

::

    .clip.mp4.work/
      work.json                 the marker: says that this is a work folder, of which layout and
                                clip; the request, its digest, and what rounding may depend on
      lock                      held by the run that works here, with its process number
      latents-SSSSSS-WWWWWW     the clip before step S with W windows of it done (`tensor_file`)
      frames-NNNNNN             decoded frames from frame N on (`tensor_file`)
      poses/                    estimated poses, where no cache keeps them
      closing                   every frame is written: the clip's name and digests, by which it is
                                known at its name as this run's

A folder is a work folder only by its marker, which is there from the moment that the folder is.
Nothing is written through a link in it, and only regular files of the names above are removed.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from animate import files
from animate.clip.claim import is_at, is_lock_file, sign_lock, try_flock
from animate.clip.marker import MARKER, Begun, Marker, read_begun, read_marker
from animate.clip.record import clip_files, with_own_name
from animate.errors import BusyError, WorkError
from animate.request.setting import NONE

SUFFIX = ".work"
LOCK, CLOSING, POSES = "lock", "closing", "poses"
STATES, FRAMES = "latents-*", "frames-*"
_FILE_NAMES = re.compile(r"work\.json|lock|closing|latents-\d{6,}-\d{6,}|frames-\d{6,}")
_POSE_NAMES = re.compile(r"[0-9a-f]{32}\.npz|\.[0-9a-f]{32}\.npz\.[0-9a-f]{32}\.part")


class WorkFolder:
    """A locked work folder. Raises WorkError where it cannot be used; see `open`."""

    def __init__(self, path: Path, lock: int, begun: Begun) -> None:
        self.path = path
        self._lock = lock
        self.begun = begun
        """The run that began the work; it may have written elsewhere."""
        self.resumed = False
        """True where an earlier run's work is there."""
        self.discarded = False
        """True where work was there that is of no use, and was thrown away."""

    @classmethod
    def open(cls, path: Path, clip: str, begun: Begun, *, discard: bool = False) -> WorkFolder:
        """Lock the folder for a run; what is there of the same run is kept and `resumed` is set.

        path: made if it is missing
        clip: path of the clip that is made
        begun: the run that opens it
        discard: throw away what is there of another request

        Raises WorkError when another run works in it, when it is of another request or version,
        when it is not empty and no work folder, holds other people's files, or cannot be written.
        """
        try:
            marker = Marker(clip=clip, begun=begun)
            lock, new = _locked(path, marker)
            folder = cls(path, lock, begun)
            try:
                folder._take(marker, begun, discard, new)
            except BaseException:
                os.close(folder._lock)
                raise
        except OSError as reason:
            raise WorkError(
                f"work folder {path} cannot be used: {(reason.strerror or str(reason)).lower()}; "
                "name another with --work FOLDER, or go without: --work none"
            ) from reason
        return folder

    def _take(self, marker: Marker, begun: Begun, discard: bool, new: bool) -> None:
        strangers = _strangers(self.path)
        if strangers:
            raise WorkError(
                f"{self.path} holds {strangers[0]}, which is no part of a work folder; name a "
                "folder that is empty or not there yet"
            )
        before = read_begun(self.path)
        if before is not None and before.digest == begun.digest:
            # Conditions are those that it was begun under; the request may write elsewhere now.
            self.resumed = not new
            self.begun = replace(begun, conditions=before.conditions)
            self._mark(replace(marker, begun=self.begun))
            return
        if before is not None and self.worth and not discard:
            raise WorkError(
                f"work folder {self.path} is of another run: it has "
                f"{_difference(before.request, begun.request)}. Finish that one (cnx "
                f"resume {self.path}), throw it away (cnx clean {self.path}), or name another "
                "folder with --work"
            )
        self.discarded = self.worth
        _remove_contents(self.path, keep=(LOCK, MARKER))
        self._mark(marker)

    def _mark(self, marker: Marker) -> None:
        files.write_bytes(self.path / MARKER, marker.encoded(), follow=False)

    @property
    def worth(self) -> bool:
        """True if anything is kept that took time to make."""
        return any(True for pattern in (STATES, FRAMES) for _ in self.path.glob(pattern))

    def close_soon(self, output: Path, digests: Mapping[str, str]) -> None:
        """Note that a clip, whose files have these digests by name, is about to appear."""
        closing = {"output": os.path.realpath(output), "files": dict(digests)}
        files.write_bytes(self.path / CLOSING, json.dumps(closing).encode(), follow=False)

    def leave(self, *, done: bool, keep: bool = False) -> bool:
        """Unlock; remove it unless it is to be kept, or the work is not done and is worth it.

        Returns whether it is still there, as it is where somebody else's files are in it.
        """
        stays = keep if done else self.worth or (self.path / CLOSING).exists()
        aside = None
        try:
            if done and keep:
                (self.path / CLOSING).unlink(missing_ok=True)
            if not stays and _strangers(self.path):
                _remove_contents(self.path)
                stays = True
            elif not stays:
                aside = _put_aside(self.path)
        finally:
            os.close(self._lock)
        if aside is not None:
            # Unlocked first, as network file systems keep open files; no finished run fails by it.
            with suppress(OSError):
                _remove_contents(aside)
                aside.rmdir()
        return stays


def work_folder(output: Path, folder: Path | None, *, sequence: bool) -> Path | None:
    """The folder for the work for `output`: as named, beside the clip, or None for none.

    Raises MediaError where that would be beside the root folder.
    """
    if folder is not None:
        return None if folder == NONE else folder
    clip = with_own_name(output.parent if sequence else output)
    return clip.with_name(f".{clip.name}{SUFFIX}")


def remove(path: Path) -> list[str]:
    """Remove a work folder; returns the names of foreign things in it, which stay.

    One without any goes at once: under its name it is there as it was, or not at all. What a kill
    may leave of it is named like a partial file of the clip, and goes as those do. Raises OSError.
    """
    if _strangers(path):
        _remove_contents(path)
        return _strangers(path)
    aside = _put_aside(path)
    if aside is not None:
        try:
            _remove_contents(aside)
            aside.rmdir()
        except OSError:
            with suppress(OSError):  # what cannot go is found where it was
                os.replace(aside, path)
            raise
    return []


def remove_partial(path: Path) -> None:
    """Remove a partial file, a lock, or a partial folder with all in it. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _put_aside(path: Path) -> Path | None:
    """The folder under the name of a partial file; None where it is gone already."""
    name = path.name.removeprefix(".").removesuffix(SUFFIX)
    aside = files.hidden_name(path.with_name(name))
    try:
        os.replace(path, aside)
    except FileNotFoundError:
        return None
    return aside


def _is_ours(entry: os.DirEntry[str]) -> bool:
    if entry.name == POSES and entry.is_dir(follow_symlinks=False):
        return True
    if files.is_partial(entry.name):
        return not entry.is_symlink()
    if entry.name == LOCK:
        return is_lock_file(entry.stat(follow_symlinks=False))
    return entry.is_file(follow_symlinks=False) and bool(_FILE_NAMES.fullmatch(entry.name))


def _is_ours_in_poses(entry: os.DirEntry[str]) -> bool:
    if not entry.is_file(follow_symlinks=False):
        return False
    return bool(_POSE_NAMES.fullmatch(entry.name)) or files.is_partial(entry.name)


def _strangers(path: Path) -> list[str]:
    """Names in a work folder, relative to it, that this program has not put there."""
    with os.scandir(path) as entries:
        listed = list(entries)
    names = [entry.name for entry in listed if not _is_ours(entry)]
    if any(entry.name == POSES and _is_ours(entry) for entry in listed):
        with os.scandir(path / POSES) as entries:
            names += [f"{POSES}/{e.name}" for e in entries if not _is_ours_in_poses(e)]
    return sorted(names)


def _remove_contents(path: Path, keep: tuple[str, ...] = ()) -> None:
    """Remove what is ours in a work folder, its marker last, so that a kill leaves a marked one."""
    with os.scandir(path) as entries:
        removable = [entry for entry in entries if _is_ours(entry) and entry.name not in keep]
    for entry in sorted(removable, key=lambda entry: entry.name == MARKER):
        if entry.name != POSES:
            remove_partial(path / entry.name)
            continue
        with os.scandir(path / POSES) as poses:
            for file in [file for file in poses if _is_ours_in_poses(file)]:
                (path / POSES / file.name).unlink(missing_ok=True)
        with suppress(OSError):  # foreign files are in it
            (path / POSES).rmdir()


def closes(path: Path, output: Path) -> bool:
    """True if the clip at `output` is that of the run whose work is in a folder, though the run has
    not ended: the files there, one at least, are those that it was about to put there."""
    present = clip_files(output)
    if not present or not (path / CLOSING).is_file():
        return False
    try:
        descriptor = os.open(path / CLOSING, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            closing = json.loads(file.read())
        if closing["output"] != os.path.realpath(output):
            return False
        return all(closing["files"].get(file.name) == files.sha256(file) for file in present)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False


def try_lock(path: Path, *, make: bool = False) -> int | None:
    """A descriptor that holds the folder's lock, or None while a run works in it.

    make: write the lock's file where it is missing. Raises OSError: FileNotFoundError without it.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | (os.O_CREAT if make else 0)
    descriptor = os.open(path / LOCK, flags, 0o666)
    if try_flock(descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _locked(path: Path, marker: Marker) -> tuple[int, bool]:
    """The lock of the work folder at `path`, and whether the folder was made for it."""
    while True:
        new = _ensure(path, marker)
        try:
            descriptor = try_lock(path, make=True)
        except FileNotFoundError:  # removed by the run that has just ended
            continue
        except OSError as reason:
            if reason.errno != errno.ELOOP:
                raise
            raise WorkError(
                f"{path / LOCK} is a link, which is no part of a work folder; name a folder that "
                "is empty or not there yet"
            ) from reason
        if descriptor is None:
            raise BusyError(
                f"another run (process {_holder(path)}) is working on this clip in {path}; wait "
                "for it or stop it, or name another folder with --work"
            )
        if is_at(descriptor, path / LOCK):
            if not is_lock_file(os.fstat(descriptor)):
                os.close(descriptor)
                raise WorkError(
                    f"{path / LOCK} is none of this program's files, and nothing is written to it; "
                    "name a folder that is empty or not there yet"
                )
            sign_lock(descriptor)
            return descriptor, new
        os.close(descriptor)


def _ensure(path: Path, marker: Marker) -> bool:
    """Have a marked work folder at `path`: one that is there, or a new one; True for a new one.

    A new one appears with its marker in it, so no kill leaves a folder that nobody knows. Raises
    WorkError for a link, and for a folder that holds something and has no marker.
    """
    if path.is_symlink():
        raise WorkError(
            f"work folder {path} is a link; name the folder that it leads to: "
            f"--work {os.path.realpath(path)}"
        )
    if read_marker(path) is not None:
        return False
    try:
        stranger = next((file.name for file in sorted(path.iterdir())), None)
    except FileNotFoundError:
        return _make(path, marker)
    if stranger is not None and read_marker(path) is None:  # another run may have made it by now
        raise WorkError(
            f"{path} holds {stranger} and no {MARKER} that this program can have written, so it "
            "is no work folder; name a folder that is empty or not there yet"
        )
    if stranger is None:
        files.write_bytes(path / MARKER, marker.encoded(), follow=False)
    return stranger is None


def _make(path: Path, marker: Marker) -> bool:
    try:
        with files.atomic_folder(path) as partial:
            (partial / MARKER).write_bytes(marker.encoded())
    except OSError as reason:
        if reason.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another run's, made just now
            raise
        return False
    return True


def _holder(path: Path) -> str:
    with suppress(OSError):
        return (path / LOCK).read_text().strip() or "unknown"
    return "unknown"


def _difference(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """The first settings in which two requests differ, in words."""
    old, new = _flat(stored), _flat(asked)
    names = [name for name in old | new if old.get(name) != new.get(name)]
    words = [f"{name} {old.get(name)} instead of {new.get(name)}" for name in names[:3]]
    return ", ".join(words) or "other input files or weights, by the same names"


def _flat(values: Mapping[str, object]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in values.items():
        if name == "runtime":
            continue
        flat.update(_flat(value) if isinstance(value, dict) else {name: value})
    return flat
