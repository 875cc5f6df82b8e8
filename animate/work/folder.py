"""One run's work folder: who works in it, for which request, and what is worth keeping.

::

    .clip.mp4.work/
      lock                      held by the run that works here, with its process number
      work.json                 the request, its digest, and what the numbers may depend on
      latents-SSSSSS-WWWWWW     the clip before step S with W windows of it done (`records`)
      frames-NNNNNN             decoded frames from frame N on (`records`)
      poses/                    estimated poses, where no cache keeps them
      closing                   every frame is written: a clip at the output's name is this run's
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from animate import files
from animate.errors import WorkError

VERSION = 1
"""Of the folder's layout; another one is not touched."""
SUFFIX = ".work"
OFF = Path("none")
"""What a request's `work` says for no work folder at all."""
MANIFEST, LOCK, CLOSING, POSES = "work.json", "lock", "closing", "poses"
STATES, FRAMES = "latents-*", "frames-*"
_OURS = re.compile(
    r"\.?(work\.json|lock|closing|latents-\d{6,}-\d{6,}|frames-\d{6,})(\.\w+\.partial)?|poses"
)


class WorkFolder:
    """A locked work folder. Raises WorkError where it cannot be used; see `open`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock
        self.manifest: dict[str, Any] = {}
        self.resumed = False
        """Whether an earlier run's work was found."""
        self.discarded = False
        """Whether work was found that is of no use, and thrown away."""

    @classmethod
    def open(cls, path: Path, manifest: Mapping[str, Any], *, discard: bool = False) -> WorkFolder:
        """Lock the folder for a run; what is there of the same run is kept and `resumed` is set.

        path: made if it is missing
        manifest: `digest` of all that decides the pictures, `request` (see `stored_request`), and
            `conditions` that the numbers depend on by rounding
        discard: throw away what is there of another request

        Raises WorkError when another run works in it, when it is of another request or version,
        when it holds other people's files, or cannot be written.
        """
        try:
            folder = cls(path, _locked(path))
            try:
                folder._take(manifest, discard)
            except BaseException:
                os.close(folder._lock)
                raise
        except OSError as reason:
            raise WorkError(
                f"work folder {path} cannot be used: {(reason.strerror or str(reason)).lower()}; "
                "name another with --work FOLDER, or go without: --work none"
            ) from reason
        return folder

    def _take(self, manifest: Mapping[str, Any], discard: bool) -> None:
        strangers = [file.name for file in self.path.iterdir() if not _OURS.fullmatch(file.name)]
        if strangers:
            raise WorkError(
                f"{self.path} holds {strangers[0]}, which is no part of a work folder; name a "
                "folder that is empty or not there yet"
            )
        found = read_manifest(self.path)
        if found is not None and found["digest"] == manifest["digest"]:
            # Conditions are those that it was begun under; the request may write elsewhere now.
            self.resumed = True
            self._say({"version": VERSION, **manifest, "conditions": found["conditions"]})
            return
        if found is not None and self.worth and not discard:
            raise WorkError(
                f"work folder {self.path} is of another run: it has "
                f"{_difference(found['request'], manifest['request'])}. Finish that one (cnx "
                f"resume {self.path}), throw it away (cnx clean {self.path}), or name another "
                "folder with --work"
            )
        self.discarded = self.worth
        self._empty()
        self._say({"version": VERSION, **manifest})

    def _say(self, manifest: dict[str, Any]) -> None:
        self.manifest = manifest
        # Waiting for the disk is put off until there is work that needs it: most clips are short.
        part = self.path / f"{MANIFEST}.0{files.PARTIAL}"
        part.write_text(json.dumps(self.manifest, indent=2) + "\n", encoding="utf-8")
        os.replace(part, self.path / MANIFEST)

    def settle(self) -> None:
        """Have on the disk itself what the folder says it is."""
        descriptor = os.open(self.path / MANIFEST, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @property
    def worth(self) -> bool:
        """Whether anything is kept that took time to make."""
        return any(True for pattern in (STATES, FRAMES) for _ in self.path.glob(pattern))

    def close_soon(self, output: Path) -> None:
        """Note that the clip is about to appear at its name."""
        files.write_bytes(self.path / CLOSING, _real_name(output))

    def leave(self, *, done: bool, keep: bool = False) -> bool:
        """Unlock; remove it unless it is to be kept, or the work is not done and is worth it.

        Returns whether it is still there.
        """
        stays = keep if done else self.worth or (self.path / CLOSING).exists()
        aside = None
        try:
            if done and keep:
                (self.path / CLOSING).unlink(missing_ok=True)
            if not stays:
                aside = _put_aside(self.path)
        finally:
            os.close(self._lock)
        if aside is not None:
            # Unlocked first, as network file systems keep open files; no finished run fails by it.
            shutil.rmtree(aside, ignore_errors=True)
        return stays

    def _empty(self) -> None:
        for file in self.path.iterdir():
            if file.name != LOCK:
                _delete(file)


def work_folder(output: Path, named: Path | None, *, sequence: bool) -> Path | None:
    """Where the work for `output` is kept: as named, beside the clip, or None for nowhere.

    Raises MediaError where that would be beside the root folder.
    """
    if named is not None:
        return None if named == OFF else named
    clip = files.with_own_name(output.parent if sequence else output)
    return clip.with_name(f".{clip.name}{SUFFIX}")


def read_manifest(path: Path) -> dict[str, Any] | None:
    """What a work folder says it is; None if it says nothing that can be read.

    Raises WorkError for a folder of another version.
    """
    try:
        found = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        version = found["version"]
        if version != VERSION:
            raise WorkError(
                f"work folder {path} was made by another version of this program (layout "
                f"{version}, this one has {VERSION}); finish it there, or throw it away: "
                f"cnx clean {path}"
            )
        if not isinstance(found["request"], dict) or not isinstance(found["conditions"], dict):
            return None
        str(found["digest"])
        return dict(found)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_work_folder(path: Path) -> bool:
    """Whether everything in that folder is a run's work, and something is."""
    if not path.is_dir() or path.is_symlink():
        return False
    names = [file.name for file in path.iterdir()]
    return bool(names) and all(_OURS.fullmatch(name) for name in names)


def remove(path: Path) -> None:
    """Remove a work folder at once: under its name it is there as it was, or not at all.

    What a kill may leave of it is named like a partial file of the clip, and goes as those do.
    """
    aside = _put_aside(path)
    if aside is not None:
        shutil.rmtree(aside)


def _put_aside(path: Path) -> Path | None:
    """The folder under the name of a partial file; None where it is gone already."""
    name = path.name.removeprefix(".").removesuffix(SUFFIX)
    aside = files.hidden_name(path.with_name(name))
    try:
        os.replace(path, aside)
    except FileNotFoundError:
        return None
    return aside


def closes(path: Path, output: Path) -> bool:
    """Whether a clip at `output` is that of the run whose work is in a folder, though the run has
    not ended."""
    try:
        return (path / CLOSING).read_bytes() == _real_name(output)
    except (OSError, ValueError):
        return False


def _real_name(path: Path) -> bytes:
    """One name for one file, without links and ``..``; file names need not be UTF-8."""
    return os.fsencode(os.path.realpath(path))


def try_lock(path: Path) -> int | None:
    """A descriptor that holds the folder's lock, or None while a run works in it."""
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as reason:
        if reason.errno in (errno.EWOULDBLOCK, errno.EACCES):
            os.close(descriptor)
            return None
        # A file system without locks: two runs at once cannot be told there.
    return descriptor


def _locked(path: Path) -> int:
    while True:
        path.mkdir(exist_ok=True)
        try:
            descriptor = try_lock(path)
        except FileNotFoundError:  # removed by the run that has just ended
            continue
        if descriptor is None:
            raise WorkError(
                f"another run (process {_holder(path)}) is working on this clip in {path}; wait "
                "for it or stop it, or name another folder with --work"
            )
        if _is_at(descriptor, path / LOCK):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            return descriptor
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def _holder(path: Path) -> str:
    with suppress(OSError):
        return (path / LOCK).read_text().strip() or "unknown"
    return "unknown"


def _difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """The first settings in which two requests differ, in words."""
    one, other = _flat(theirs), _flat(ours)
    names = [name for name in one | other if one.get(name) != other.get(name)]
    said = [f"{name} {one.get(name)} instead of {other.get(name)}" for name in names[:3]]
    return ", ".join(said) or "other input files or weights, by the same names"


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if name == "runtime":
            continue
        flat.update(_flat(value) if isinstance(value, dict) else {name: value})
    return flat


def _delete(file: Path) -> None:
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file)
    else:
        file.unlink(missing_ok=True)
