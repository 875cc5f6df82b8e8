"""The record beside stills: every setting, every digest, and which pictures are finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from animate import files
from animate.models.stills import StillModel
from animate.models.store import recorded_digest
from animate.request.schema import plain
from animate.request.still import StillRequest

KIND = "still"
_WEIGHTS = (".safetensors", ".json", ".txt", ".yaml")
"""Suffixes of a model's files that decide its pictures."""


@dataclass(frozen=True, kw_only=True)
class MadePicture:
    """One finished picture."""

    seed: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class StillRecord:
    """Everything about the pictures of one series."""

    kind: str = KIND
    program: str
    """Name and version of this program."""
    request: Mapping[str, object]
    """Every setting as given."""
    model: str
    """Name of the design."""
    reason: str
    """The reason why that model was taken."""
    size: str
    """Size of the pictures, WIDTHxHEIGHT."""
    steps: int
    guidance: float
    inputs: Mapping[str, str]
    """SHA-256 of every file that decides the pictures, by the setting that names it."""
    digest: str
    """SHA-256 of all that decides the pictures of the series but their number."""
    pictures: Mapping[str, MadePicture] = field(default_factory=dict)
    """Those that are finished, by file name."""
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()

    def write(self, path: Path) -> None:
        """Put it at its path, atomically."""
        files.write_text(path, json.dumps(plain(self), indent=2) + "\n", follow=False)


def record_path(request: StillRequest) -> Path:
    """The record's path, beside the pictures."""
    return request.output.with_suffix(".json")


def finished_pictures(path: Path, digest: str) -> dict[str, MadePicture]:
    """Pictures that an earlier run of the same series has made and nobody has changed."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["kind"] != KIND or values["digest"] != digest:
            return {}
        pictures = {name: MadePicture(**entry) for name, entry in values["pictures"].items()}
        return {
            name: picture
            for name, picture in pictures.items()
            if _is_same(path.with_name(name), picture.sha256)
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _is_same(path: Path, digest: str) -> bool:
    return path.is_file() and files.sha256(path) == digest


def input_digests(request: StillRequest, model: StillModel) -> dict[str, str]:
    """SHA-256 of every file that decides the pictures, by the setting that names it.

    Raises OSError for a file that cannot be read.
    """
    paths = {"base": model.base, "controlnext": model.controlnext, "unet": model.unet}
    sources = {name: path for name, path in paths.items() if path is not None}
    for number, (name, path) in enumerate(request.paths("input")):
        if name not in (*paths, "model"):
            sources[f"{name}-{number}" if name in sources else name] = path
    return {name: _digest_of(path) for name, path in sources.items()}


def _digest_of(path: Path) -> str:
    if path.is_file():
        return recorded_digest(path)
    lines = [f"{file.relative_to(path)} {recorded_digest(file)}" for file in _model_files(path)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _model_files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix in _WEIGHTS:
            yield file


def series_digest(request: StillRequest, inputs: Mapping[str, str], design: str) -> str:
    """SHA-256 of all that decides the pictures of a series but their number."""
    values = {"settings": request.look(), "inputs": dict(inputs), "design": design}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
