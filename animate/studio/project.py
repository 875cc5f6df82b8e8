"""The folder that a studio works on: names of files in it, and nothing outside it.

Pages name files by their path below the folder, with slashes. A name is looked up link by link, so
that what is read or written lies in the folder however it is called.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from animate.batch.paths import record_path
from animate.clip.record import sidecar_path
from animate.errors import RequestError
from animate.files import IMAGE_SUFFIXES

Kind = Literal["photo", "video", "poses", "clip", "page"]
PHOTO_SUFFIXES = (*IMAGE_SUFFIXES, ".avif", ".heic", ".gif")
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts")
POSES_SUFFIX = ".npz"
PAGE_SUFFIX = ".html"
"""Reports and comparisons that other commands have written."""
_DEEPEST = 4
"""Folders below each other that are listed."""
_MOST_FILES = 5000
_LONGEST_NAME = 120
_LONGEST_PART = 255
"""Bytes of a name that file systems allow."""


class OutsideError(RequestError):
    """A name that leads out of the project's folder, or to nothing that a page may have."""


class MissingError(RequestError):
    """A name under which there is no file."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file of the project."""

    name: str
    """Path below the folder, with slashes."""
    kind: Kind
    bytes: int
    changed: float
    """Time of the last change, seconds since 1970."""


class Project:
    """A folder of photos, videos, poses and clips."""

    def __init__(self, folder: Path) -> None:
        """Raises RequestError where there is no such folder, or it cannot be written."""
        self.root = Path(os.path.realpath(folder))
        if not self.root.is_dir():
            raise RequestError(f"the project folder {folder} is not there; make it: mkdir {folder}")
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise RequestError(f"the project folder {folder} cannot be written; choose another one")

    def path(self, name: str) -> Path:
        """The path of a name, whether or not a file is there. Raises OutsideError."""
        parts = PurePosixPath(name).parts
        proper = parts and all(_is_proper(part) for part in parts) and "/" not in name[:1]
        path = self.root.joinpath(*parts)
        if not proper or not self._holds(path):
            raise OutsideError(f"{name!r} is no file of this project")
        return path

    def file(self, name: str) -> Path:
        """The path of a file that is there. Raises OutsideError or MissingError."""
        path = self.path(name)
        if not path.is_file():
            raise MissingError(f"there is no file {name} in this project")
        return path

    def name(self, path: Path) -> str:
        """The name of a path below the folder. Raises OutsideError for others."""
        try:
            return path.relative_to(self.root).as_posix()
        except ValueError:
            raise OutsideError(f"{path} is no file of this project") from None

    def check_inside(self, path: Path) -> None:
        """Raise OutsideError for a path that leads out of the folder, links resolved."""
        if not self._holds(path):
            raise OutsideError(
                f"{path} lies outside the project folder {self.root}; copy it into the folder"
            )

    def _holds(self, path: Path) -> bool:
        try:
            return Path(os.path.realpath(path)).is_relative_to(self.root)
        except (OSError, ValueError):
            return False

    def free_path(self, name: str) -> Path:
        """A path for a new file called `name`, numbered where that name is in use.

        Raises OutsideError.
        """
        cleaned = Path(clean_name(name))
        path = self.root / cleaned
        number = 2
        while _is_taken(path):
            path = self.root / f"{cleaned.stem}-{number}{cleaned.suffix}"
            number += 1
        return path

    def entries(self) -> Iterator[Entry]:
        """The files that pages show, by name."""
        for count, path in enumerate(sorted(self._walk(self.root, 0))):
            if count == _MOST_FILES:
                return
            kind = _kind(path)
            try:
                state = path.stat()
            except OSError:  # gone meanwhile, or a link that leads nowhere
                continue
            if kind is not None and path.is_file() and self._holds(path):
                yield Entry(
                    name=self.name(path), kind=kind, bytes=state.st_size, changed=state.st_mtime
                )

    def _walk(self, folder: Path, depth: int) -> Iterator[Path]:
        try:
            items = list(os.scandir(folder))
        except OSError:
            return
        for item in items:
            if item.name.startswith("."):
                continue
            if item.is_dir(follow_symlinks=False):
                if depth < _DEEPEST:
                    yield from self._walk(Path(item.path), depth + 1)
            else:
                yield Path(item.path)


def _is_taken(path: Path) -> bool:
    """True where a file, its record or its job would replace something, or go through a link."""
    return any(map(os.path.lexists, (path, sidecar_path(path), record_path(path))))


def _kind(path: Path) -> Kind | None:
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return "clip" if sidecar_path(path).is_file() else "video"
    if suffix in PHOTO_SUFFIXES:
        return "photo"
    if suffix == PAGE_SUFFIX:
        return "page"
    return "poses" if suffix == POSES_SUFFIX else None


def _is_proper(part: str) -> bool:
    """True for a part of a name that is neither hidden, too long, nor leads elsewhere."""
    proper = not part.startswith(".") and "\\" not in part and part.isprintable()
    return proper and len(os.fsencode(part)) <= _LONGEST_PART


def clean_name(name: str) -> str:
    """A file name of what a browser or a person calls a file: one part, no odd characters."""
    last = name.replace("\\", "/").rpartition("/")[2]
    cleaned = "".join(c if c.isalnum() or c in " ._-()" else "_" for c in last).strip(" .")
    stem, suffix = Path(cleaned).stem[:_LONGEST_NAME], Path(cleaned).suffix[:12]
    if not stem:
        raise OutsideError(f"{name!r} is no name of a file")
    return stem + suffix
