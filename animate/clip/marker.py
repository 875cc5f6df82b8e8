"""The marker of a work folder, `work.json`: says that it is one, and whose work is in it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from animate.clip.record import Conditions
from animate.clip.typed_json import from_plain
from animate.errors import WorkError
from animate.request.schema import plain

MADE_BY = "cnx-animate work folder"
VERSION = 3
"""Version of the folder's layout; another one is not touched."""
MARKER = "work.json"
_LARGEST = 4 << 20
_MOST_THREADS = 1024


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A run as it was begun."""

    digest: str
    """Fingerprint of the pictures."""
    request: Mapping[str, object]
    """Every setting, with paths that mean the same in any working directory."""
    conditions: Conditions
    given_in: str = "."
    """Working directory of the run."""


@dataclass(frozen=True, kw_only=True)
class Marker:
    """Content of `work.json`."""

    clip: str
    """Path of the clip that is made."""
    begun: Begun | None
    """None where a part is missing or damaged, and in folders of another version."""
    version: int = VERSION

    def encoded(self) -> bytes:
        """As it stands in the file."""
        head = {"made_by": MADE_BY, "version": self.version, "clip": self.clip}
        begun = {} if self.begun is None else plain(self.begun)
        return (json.dumps({**head, **begun}, indent=2) + "\n").encode()


def read_marker(folder: Path) -> Marker | None:
    """The marker of a work folder of any version; None where the folder is none.

    It counts if it parses, names its version and clip, and was written by this program.
    """
    if folder.is_symlink():
        return None
    try:
        descriptor = os.open(folder / MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            values = json.loads(file.read(_LARGEST))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or type(values.get("version")) is not int:
        return None
    version, clip = values["version"], values.get("clip")
    if version == 1:  # named no maker; its clip is the request's
        return _first_version(values)
    if values.get("made_by") != MADE_BY or not isinstance(clip, str):
        return None
    return Marker(version=version, clip=clip, begun=_begun(values) if version == VERSION else None)


def read_begun(folder: Path) -> Begun | None:
    """The run whose work is in a folder; None where the folder is none, or does not say.

    Raises WorkError for a folder of another version.
    """
    marker = read_marker(folder)
    if marker is None:
        return None
    if marker.version != VERSION:
        raise WorkError(
            f"work folder {folder} was made by another version of this program (layout "
            f"{marker.version}, this one has {VERSION}); finish it there, or throw it away: "
            f"cnx clean {folder}"
        )
    return marker.begun


def is_work_folder(path: Path) -> bool:
    """True for a folder, not a link, that has the marker of this program in it."""
    return read_marker(path) is not None


def _begun(values: Mapping[str, object]) -> Begun | None:
    try:
        begun: Begun = from_plain(Begun, values)
    except ValueError:
        return None
    return begun if 1 <= begun.conditions.threads <= _MOST_THREADS else None


def _first_version(values: Mapping[str, object]) -> Marker | None:
    request, digest = values.get("request"), str(values.get("digest"))
    if not isinstance(request, dict) or not isinstance(values.get("conditions"), dict):
        return None
    clip = request.get("output")
    if not isinstance(clip, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        return None
    return Marker(version=1, clip=clip, begun=None)
