"""Models by the names of their repositories on the model hub, as diffusers names them.

A repository of a known variant means that variant. Any other one that the hub's cache holds is
linked into a model folder of the user's cache, once for each of its commits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from animate.driving.cache import users_cache
from animate.errors import ModelError
from animate.models import hub
from animate.models.importing import import_model
from animate.models.store import cache_root, hub_library
from animate.models.variants import (
    VARIANT_FILE,
    ModelVariant,
    list_variants,
    load_variant,
    variant_names,
)
from animate.progress import Progress

_HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
_ON_SVD = "svd-v2"
"""Variant that a repository of Stable Video Diffusion alone stands for."""


def model_of(
    name: str | os.PathLike[str], *, local_files_only: bool, progress: Progress
) -> str | Path:
    """The variant's name or the model folder that a name, a folder or a hub id stands for.

    local_files_only: False brings missing files onto this machine
    Raises ModelError for a repository that is not on this machine, or holds no model.
    """
    if not isinstance(name, str):
        return Path(name)
    if name == "auto" or Path(name).exists():
        return name
    if name in variant_names():
        variant = load_variant(name)
    elif not _HUB_ID.fullmatch(name):
        return name  # refused, with the known names, where it is loaded
    elif (known := _of_repository(name)) is not None:
        variant = known
        progress.note(f"model: {variant.name}, whose files {name} has")
    else:
        return _folder_of(name, local_files_only=local_files_only)
    if not local_files_only:
        hub.fetch(variant, progress)
    return variant.name


def _of_repository(name: str) -> ModelVariant | None:
    """The variant whose own weights a repository has: of several the newest that adds nothing of
    others to them. Of a repository of Stable Video Diffusion alone the one that is made on it by
    default; None for others."""
    variants = [variant for variant in list_variants() if variant.sources]
    matching = [variant for variant in variants if name in _repositories(variant, "controlnext")]
    if matching:
        fewest = min(len(variant.sources) for variant in matching)
        return [variant for variant in matching if len(variant.sources) == fewest][-1]
    bases = {repository for v in variants if v.family == "svd" for repository in _bases(v)}
    return load_variant(_ON_SVD) if name in bases else None


def _bases(variant: ModelVariant) -> Iterator[str]:
    yield from _repositories(variant, "vae")
    yield from _repositories(variant, "image_encoder")


def _repositories(variant: ModelVariant, component: str) -> set[str]:
    files = map(variant.file, variant.components[component].weights)
    return {file.source.repository for file in files if file.source is not None}


def _folder_of(name: str, *, local_files_only: bool) -> Path:
    """The model folder that a repository is, or is linked into."""
    snapshot = _snapshot(name) if local_files_only else _fetched(name)
    if snapshot is None:
        raise ModelError(
            f"{name} is neither a model, a folder, nor a repository on this machine; `hf download "
            f"{name}` brings it, or give local_files_only=False"
        )
    if (snapshot / VARIANT_FILE).is_file():
        return snapshot
    folder = users_cache().parent / "models" / f"{name.replace('/', '--')}-{snapshot.name[:12]}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        import_model(str(snapshot), folder)
    return folder


def _snapshot(name: str) -> Path | None:
    """The newest commit of a repository in the hub's cache."""
    repository = cache_root() / f"models--{name.replace('/', '--')}"
    snapshots = [path for path in (repository / "snapshots").glob("*") if path.is_dir()]
    if not snapshots:
        return None
    head = repository / "refs" / "main"
    commit = head.read_text().strip() if head.is_file() else ""
    newest = max(snapshots, key=lambda path: path.stat().st_mtime)
    return next((path for path in snapshots if path.name == commit), newest)


def _fetched(name: str) -> Path:
    """All files of a repository, brought to this machine. Raises ModelError."""
    library = hub_library()
    try:
        return Path(library.snapshot_download(name))
    except (OSError, library.errors.HfHubHTTPError, ValueError) as reason:
        words = " ".join(str(reason).split())
        raise ModelError(f"{name} cannot be fetched from the model hub: {words}") from reason
