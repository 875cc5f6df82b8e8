"""Where a variant's files lie: its own folder, or the model hub's cache on this machine.

The cache is the hub library's own (`HF_HOME` moves it), so what another program fetched is found
and nothing is stored twice. Nothing here uses the network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from animate.files import sha256
from animate.models.config import Source


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """One file of a variant."""

    path: str
    """Path in the repository or folder."""
    source: Source | None = None
    """The repository; None for a file of the variant's own folder."""
    folder: Path | None = None
    """The variant's own folder; None when the variant has none."""

    digest: str | None = None
    """SHA-256 where the variant states it."""

    def locate(self) -> Path | None:
        """The file on this machine, or None when it is not here."""
        if self.source is None:
            place = (self.folder or Path()) / self.path
            return place if place.is_file() else None
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(
            self.source.repository, self.path, revision=self.source.revision
        )
        return Path(found) if isinstance(found, str) and Path(found).is_file() else None

    def __str__(self) -> str:
        if self.source is None:
            return str((self.folder or Path()) / self.path)
        return f"{self.source.repository}/{self.path}"


def cached_digest(path: Path) -> str | None:
    """The SHA-256 that the hub stated for a large file when it was fetched, or None.

    The hub's cache stores such files under their digest.
    """
    target = path.resolve()
    named = target.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", target.name)
    return target.name if named else None


def recorded_digest(path: Path) -> str:
    """SHA-256 of a file, without reading it where the hub's cache has it in the file's name.

    It was checked when the file was fetched; `verify` reads the file again.
    """
    return cached_digest(path) or sha256(path)
