"""The record beside a clip: everything needed to make it again, and what making it took.

`CLIP.json` holds the request as given, every value as resolved, digests of inputs and weights,
versions, timings, peaks and warnings, and the clip file's own digest. It is written last: a clip
whose record fits it (`ClipRecord.fits`) is complete.
"""

from __future__ import annotations

import json
import os
import platform
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from animate.errors import MediaError
from animate.files import is_sequence, sha256, with_own_name, write_text
from animate.media.sequences import sequence_files
from animate.request.schema import plain

SCHEMA = 2
READABLE = (1, 2)
"""Schemas that are read; records of 1 do not name the clip's file."""
RECORDED_PACKAGES = ("cnx-animate", "torch", "diffusers", "transformers", "onnxruntime", "av")
_LARGEST = 16 << 20
"""Bytes of a record that is read."""


@dataclass(frozen=True, kw_only=True)
class ClipFile:
    """The finished clip, so that a record is known to be of this very file."""

    name: str
    """File name, or the pattern of numbered images."""
    files: int
    """1, or the number of images."""
    bytes: int
    """Of all files together."""
    sha256: str
    """Digest of the file; of numbered images, over their names and digests in order."""

    @classmethod
    def of(cls, clip: Path, paths: Iterable[Path] | None = None) -> Self:
        """Read and hash a clip; `paths` are its files where they are not at their names yet.

        Raises OSError.
        """
        paths = sorted(paths if paths is not None else clip_files(clip))
        size = sum(path.stat().st_size for path in paths)
        if is_sequence(clip):
            digest = digest_of_names({path.name: sha256(path) for path in paths})
        else:
            digest = sha256(paths[0])
        return cls(name=clip.name, files=len(paths), bytes=size, sha256=digest)


@dataclass(frozen=True, kw_only=True)
class AdapterRecord:
    """One adapter (LoRA) that was added to the UNet."""

    file: str
    sha256: str
    weight: float
    layers: int


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """The model variant that made a clip."""

    name: str
    why: str
    """Reason for which this variant was taken."""
    licence: str
    weights_sha256: Mapping[str, str]
    lora: tuple[AdapterRecord, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PosesRecord:
    """Poses that a clip was driven by."""

    estimator: str
    mismatch: float | None
    """Distance of driver and reference, from 0 to 1; None where nobody was compared."""
    frames_without_person: int


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Conditions that may change rounding, and nothing else."""

    device: str
    precision: str
    memory: int | None
    """Budget in bytes."""
    offload: str | None
    versions: Mapping[str, str]
    threads: int


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """The beginning of a clip that was made in several runs."""

    begun_with: Conditions


@dataclass(frozen=True, kw_only=True)
class OutputRecord:
    """Frames as they were written."""

    frames: int
    fps: str
    """Exact rate, such as 30000/1001."""
    seconds: float
    size: str
    """WIDTHxHEIGHT."""
    sound: str
    """Treatment of the driving video's sound, in words."""
    frames_sha256: str
    """Digest of the RGB bytes of all frames in order, before compression."""
    beside: tuple[str, ...] = ()
    """Files beside the clip: side by side, contact sheet."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Content Credentials that were put into the clip."""

    signer: str
    state: str


@dataclass(frozen=True, kw_only=True)
class ClipRecord:
    """Content of `CLIP.json`."""

    request: Mapping[str, object]
    """Every setting as given; `AnimationRequest.from_dict` makes a request of it."""
    settings: Mapping[str, object]
    """Sampling settings as resolved."""
    digest: str
    """Fingerprint of the pictures; see `animate.clip.fingerprint`."""
    seed: int
    model: ModelRecord
    inputs: Mapping[str, str]
    """SHA-256 of each input, by the name of its setting."""
    poses: PosesRecord | str
    """Poses, or a remark where rendered skeletons were taken."""
    output: OutputRecord
    clip: ClipFile | None = None
    """File that this is the record of; None in records of schema 1."""
    device: str
    precision: str
    threads: int
    windows: str
    """Workers that computed the windows."""
    seconds: Mapping[str, float]
    """Wall time of each stage."""
    peak_host_bytes: int
    peak_device_bytes: int | None
    versions: Mapping[str, str]
    resumed: Resumed | None = None
    credentials: Credentials | None = None
    warnings: tuple[str, ...] = ()
    copied_from: str = ""
    """Clip that this one is a copy of."""
    schema: int = field(default=SCHEMA)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the record at `path`.

        Raises MediaError for a file that is missing, damaged, or of another schema.
        """
        try:
            values = _json(path)
        except (OSError, ValueError, RecursionError) as reason:
            words = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
            raise MediaError(f"the record {path} is damaged: {words.lower()}") from reason
        schema = values.get("schema") if isinstance(values, dict) else None
        if isinstance(schema, int) and schema not in READABLE:
            raise MediaError(
                f"the record {path} was written by another version of this program (schema "
                f"{schema}, this one reads {' and '.join(map(str, READABLE))}); read it there"
            )
        try:
            return from_plain(cls, values)
        except ValueError as reason:
            raise MediaError(f"{path} is no record of a clip: {reason}") from reason

    def write(self, path: Path) -> Path:
        """Write the record atomically at `path`. Raises MediaError if it cannot be written."""
        text = json.dumps(plain(self), indent=2, ensure_ascii=False)
        try:
            write_text(path, text + "\n")
        except OSError as reason:
            raise MediaError(f"the record {path} cannot be written: {reason.strerror}") from reason
        return path

    def fits(self, clip: Path, *, verify: bool = False) -> bool:
        """True if the clip at this path is the one recorded: by name and size, or its digest too.

        A record of schema 1 fits any clip that is there.
        """
        paths = clip_files(clip)
        if self.clip is None or not paths:
            return bool(paths)
        try:
            size = sum(path.stat().st_size for path in paths)
            if (len(paths), size) != (self.clip.files, self.clip.bytes):
                return False
            return not verify or ClipFile.of(clip, paths).sha256 == self.clip.sha256
        except OSError:
            return False


def clip_files(clip: Path) -> list[Path]:
    """The files that a clip consists of, so far as they are there."""
    if is_sequence(clip):
        return sequence_files(clip)
    return [clip] if clip.is_file() else []


def digest_of_names(digests: Mapping[str, str]) -> str:
    """SHA-256 over file names and the digests of their contents, in the order of the names."""
    import hashlib

    total = hashlib.sha256()
    for name in sorted(digests):
        total.update(f"{name}\0{digests[name]}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def sidecar_path(clip: Path) -> Path:
    """The usual path of the record of `clip`: `clip.json` for `clip.mp4`, or for `clip/%04d.png`;
    `shot.v001.json` for `shot.v001/%04d.png`. Raises MediaError for images in the root folder."""
    if is_sequence(clip):
        folder = with_own_name(clip.parent)
        return folder.with_name(f"{folder.name}.json")
    return clip.with_suffix(".json")


def versions(packages: Iterable[str] = RECORDED_PACKAGES) -> dict[str, str]:
    """Versions of the packages that decide a clip's pixels."""
    numbers = {"python": platform.python_version(), "platform": platform.platform()}
    for package in packages:
        try:
            numbers[package] = version(package)
        except PackageNotFoundError:  # run from a checkout that was never installed
            numbers[package] = "not installed"
    return numbers


def _json(path: Path) -> Any:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"it is larger than {_LARGEST >> 20} MiB")
    return json.loads(data)


def from_plain(kind: Any, value: Any, name: str = "it") -> Any:
    """A value of type `kind` from plain JSON values: dataclasses, mappings, tuples, unions.

    Names that a dataclass does not have are left out: a later version may have added them.
    Raises ValueError naming the first value that is missing or of another type.
    """
    if kind is object or kind is Any:
        return value
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        return _from_union(parts, value, name)
    if origin is Literal and isinstance(value, str) and value in parts:
        return value
    if kind is Path and isinstance(value, str) and "\0" not in value:
        return Path(value)
    if is_dataclass(kind):
        return _from_object(kind, value, name)
    if origin is tuple and isinstance(value, list):
        return tuple(from_plain(parts[0], item, f"an item of {name}") for item in value)
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, dict):
        return {key: from_plain(parts[1], item, f"{name} {key}") for key, item in value.items()}
    if kind is float and type(value) in (int, float) and isfinite(value):
        return float(value)
    if origin is None and type(value) is kind and kind is not float:
        return value
    raise ValueError(f"{name} is {type(value).__name__}, not {getattr(kind, '__name__', kind)}")


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _from_union(kinds: tuple[Any, ...], value: Any, name: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    choices = [kind for kind in kinds if kind is not type(None)]
    for kind in choices[:-1]:
        try:
            return from_plain(kind, value, name)
        except ValueError:
            continue
    return from_plain(choices[-1], value, name)


def _from_object(kind: Any, value: Any, name: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {type(value).__name__}, not an object")
    hints = _hints(kind)
    values = {}
    for item in fields(kind):
        if item.name in value:
            values[item.name] = from_plain(hints[item.name], value[item.name], item.name)
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ValueError(f"{item.name} is missing")
    return kind(**values)
