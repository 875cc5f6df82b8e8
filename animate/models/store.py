"""Files of a variant on this machine: in its own folder, or in the model hub's cache.

The cache is the hub library's own (`HF_HOME` moves it), so files that another program fetched are
used and nothing is stored twice. Nothing here uses the network.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from animate.errors import ModelError, reason_of
from animate.files import open_regular, real_path, sha256
from animate.models.config import Source
from animate.request.wording import nearest, quoted

_SHA256 = re.compile(r"[0-9a-f]{64}")
_GIT_SHA1 = re.compile(r"[0-9a-f]{40}")
_CHUNK_BYTES = 1 << 20
_LONGEST_JSON = 1 << 20
"""Bytes of a configuration; real ones have some thousand."""


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

    @classmethod
    def of(
        cls,
        reference: str,
        sources: Mapping[str, Source],
        folder: Path | None,
        digests: Mapping[str, str],
    ) -> ModelFile:
        """The file that is meant by `path` in a folder, or by `source:path`. Raises ModelError."""
        name, _, path = reference.rpartition(":")
        if not name:
            return cls(path=path, folder=folder, digest=digests.get(path))
        if name not in sources:
            raise ModelError(f"{reference} names no source{nearest(name, set(sources))}")
        source = sources[name]
        return cls(path=path, source=source, digest=source.digests.get(path))

    def locate(self) -> Path | None:
        """The file on this machine, or None when it is not here."""
        if self.source is None:
            path = (self.folder or Path()) / self.path
            return path if path.is_file() else None
        cached = hub_library().try_to_load_from_cache(
            self.source.repository, self.path, revision=self.source.revision
        )
        return Path(cached) if isinstance(cached, str) and Path(cached).is_file() else None

    def __str__(self) -> str:
        if self.source is None:
            return str((self.folder or Path()) / self.path)
        return f"{self.source.repository}/{self.path}"


def hub_library() -> Any:
    """The hub library, without its telemetry unless the user decided otherwise."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when it is imported
    import huggingface_hub
    import huggingface_hub.constants

    return huggingface_hub


def cache_root() -> Path:
    """The hub library's cache folder."""
    return Path(hub_library().constants.HF_HUB_CACHE).expanduser()


def repository_folder(source: Source) -> Path:
    """The folder that the hub library's cache has for a repository."""
    return cache_root() / f"models--{source.repository.replace('/', '--')}"


def hub_digest(path: Path) -> str | None:
    """The digest that the hub stated for a file when it was fetched, or None.

    The cache stores a file under its digest (SHA-256, or git's SHA-1 for small ones), and links to
    it: `models--OWNER--NAME/snapshots/COMMIT/FILE` -> `models--OWNER--NAME/blobs/DIGEST`, which may
    be a link itself, to a store that repositories share. Only this very layout is trusted: a name
    anywhere else proves nothing.
    """
    try:
        root, folder = real_path(cache_root()), real_path(path.parent)
        blob = Path(os.path.normpath(folder / os.readlink(path)))
        blobs = real_path(blob.parent)
        inside = real_path(blob).is_relative_to(root)
    except OSError:  # no link
        return None
    repository = blobs.parent
    if (
        blobs.name != "blobs"
        or blobs != blob.parent
        or repository.parent != root
        or not folder.is_relative_to(repository / "snapshots")
        or not inside
    ):
        return None
    return blob.name if is_digest(blob.name) else None


def is_digest(text: str) -> bool:
    """True for a digest of the kinds that the hub states."""
    return bool(_SHA256.fullmatch(text) or _GIT_SHA1.fullmatch(text))


def matches_hub(path: Path, digest: str) -> bool:
    """True where a file, read now, has the digest that the hub states."""
    return hub_sum(path, digest).hexdigest() == digest


def hub_sum(path: Path | None, digest: str, size: int | None = None) -> hashlib._Hash:
    """A running sum of the hub's kind that `digest` has, over the file's bytes so far.

    size: bytes that the file has once it is complete; None: those that it has now
    """
    if _SHA256.fullmatch(digest):
        running = hashlib.sha256()
    else:
        length = size if size is not None or path is None else path.stat().st_size
        running = hashlib.sha1(f"blob {length}\0".encode(), usedforsecurity=False)
    if path is not None:
        with path.open("rb") as file:
            while piece := file.read(_CHUNK_BYTES):
                running.update(piece)
    return running


def recorded_digest(path: Path) -> str:
    """SHA-256 of a file, without reading it where the hub's cache has it in the file's name.

    It was checked when the file was fetched; `verify` reads the file again. Other files are read
    once in a process, unless they change. Raises `ModelError` for one that cannot be read.
    """
    stated = hub_digest(path)
    if stated is not None and _SHA256.fullmatch(stated):
        return stated
    link = path
    while link.is_symlink():  # a model folder's link into the cache
        link = link.parent / os.readlink(link)
        stated = hub_digest(link)
        if stated is not None and _SHA256.fullmatch(stated):
            return stated
    try:
        state = path.stat()
        return _digest_once(str(real_path(path)), state.st_size, state.st_mtime_ns, state.st_ino)
    except OSError as reason:
        raise ModelError(f"{path} cannot be read: {reason_of(reason)}") from reason


@lru_cache(maxsize=1024)
def _digest_once(path: str, size: int, changed: int, inode: int) -> str:
    return sha256(path)


def read_json(path: Path) -> dict[str, Any]:
    """Names with values of a JSON file. Raises `ModelError` for any other content."""
    try:
        with open_regular(path) as file:
            return parse_json(file.read(_LONGEST_JSON + 1), path)
    except OSError as reason:
        raise ModelError(f"{path} cannot be read: {reason}; copy it again") from reason


def parse_json(data: bytes, file: Path) -> dict[str, Any]:
    """Names with values of JSON from `file`. Raises `ModelError` for any other content."""
    if len(data) > _LONGEST_JSON:
        raise ModelError(f"the configuration in {file} is longer than 1 MiB; use another file")
    try:
        content = json.loads(data.decode())
    except (ValueError, RecursionError) as reason:
        fault = "nested too deeply" if isinstance(reason, RecursionError) else reason
        raise ModelError(f"{file} is not readable JSON ({fault}); copy it again") from reason
    if not isinstance(content, dict):
        raise ModelError(f"{file} must hold names with values, not {quoted(content)}")
    return content
