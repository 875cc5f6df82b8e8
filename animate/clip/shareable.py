"""Records that may be given away with a clip: they say nothing of the machine that made it.

A path is written as it leads from the folder of the record, so that a folder that is moved as a
whole stays whole. Of a file that shares no folder with the record but the root, the name alone is
written. Folders that keep something between runs, and the files of a signature, are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from animate.request.request import AnimationRequest
from animate.request.schema import plain
from animate.request.setting import NONE, Role


class NamesFiles(Protocol):
    """A request, of whatever kind."""

    def paths(self, *roles: Role) -> Iterator[tuple[str, Path]]:
        """Every path that the settings of these roles name, with the setting's name."""


@dataclass(frozen=True, kw_only=True)
class Shareable:
    """Writes paths for a record in one folder."""

    folder: Path
    """Folder of the record."""

    def path(self, path: Path) -> Path:
        """The path from the folder on; a link keeps its own name."""
        folder = os.path.realpath(self.folder)
        real = os.path.join(os.path.realpath(path.parent), path.name)
        if os.path.commonpath([folder, real]) == os.path.sep:
            return Path(path.name)
        return Path(os.path.relpath(real, folder))

    def request(self, request: AnimationRequest) -> dict[str, object]:
        """A request as plain values, with the paths of its inputs and outputs."""
        runtime = request.runtime
        public = replace(
            runtime,
            cache=NONE if runtime.cache == NONE else None,
            work=NONE if runtime.work == NONE else None,
            sign=None,
        )
        shared = replace(request, runtime=public).with_paths(self.path)
        if "/" in request.model and "/" not in shared.model:  # or it would be a variant's name
            shared = replace(shared, model=f"./{shared.model}")
        return dict(plain(shared))

    def text(self, text: str, request: NamesFiles) -> str:
        """A message with the absolute paths of a request's files as they stand in the record."""
        files = {path.absolute() for _, path in request.paths("input", "output", "place")}
        for path in sorted(files, key=lambda path: -len(str(path))):
            text = text.replace(str(path), str(self.path(path)))
        return text
