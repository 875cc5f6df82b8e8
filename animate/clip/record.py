"""The record beside a clip: everything needed to make it again, and what making it took.

`CLIP.json` holds the request, every value as resolved, digests of inputs and weights, versions,
timings, peaks and warnings, and the clip file's own digest. It is written last: a clip whose record
fits it (`ClipRecord.fits`) is complete. Its paths lead from its own folder on
(`animate.clip.shareable`): who gets the clip and its record learns nothing of the machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Self

from animate.clip.typed_json import from_plain, read_json
from animate.errors import MediaError, reason_of
from animate.files import FRAME_NUMBER, is_sequence, sha256, write_text
from animate.media.sequences import sequence_files
from animate.request.request import AnimationRequest
from animate.request.schema import plain

SCHEMA = 3
READABLE = (1, 2, 3)
"""Schemas that are read; records of 1 do not name the clip's file, paths of 1 and 2 are as they
were given."""
RECORDED_PACKAGES = ("cnx-animate", "torch", "diffusers", "transformers", "onnxruntime", "av")


@dataclass(frozen=True, kw_only=True)
class ClipFile:
    """The finished clip, so that a record is known to be of this very file."""

    name: str
    """File name, or the pattern of numbered images."""
    files: int
    """1, or the number of images."""
    bytes: int
    """Size of all files together."""
    sha256: str
    """Digest of the file; of numbered images, over their names and digests in order."""

    @classmethod
    def of(cls, clip: Path, digests: Mapping[str, str], size: int) -> Self:
        """The clip whose files have these names, digests, and size together."""
        if is_sequence(clip):
            digest = digest_of_names(digests)
        else:
            (digest,) = digests.values()
        return cls(name=clip.name, files=len(digests), bytes=size, sha256=digest)


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
    """Every setting as given, but for folders that keep something between runs; paths lead from the
    record's folder on. `request_in` makes a request of it."""
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
    leading: bool = False
    """True where the reference in its own pose was generated before the clip's first frame."""
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
    """Clip that this one is a copy of, from the record's folder on."""
    schema: int = field(default=SCHEMA)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the record at `path`.

        Raises MediaError for a file that is missing, damaged, or of another schema.
        """
        try:
            values = read_json(path)
        except (OSError, ValueError) as reason:
            words = getattr(reason, "strerror", None) or str(reason)
            raise MediaError(f"the record {path} is damaged: {words.lower()}") from reason
        schema = values.get("schema") if isinstance(values, dict) else None
        if isinstance(schema, int) and schema not in READABLE:
            raise MediaError(
                f"the record {path} was written by another version of this program (schema "
                f"{schema}, this one reads {READABLE[0]} to {READABLE[-1]}); read it there"
            )
        try:
            return from_plain(cls, values)
        except ValueError as reason:
            raise MediaError(f"{path} is no record of a clip: {reason}") from reason

    def request_in(self, folder: Path) -> AnimationRequest:
        """The request, with the paths that lead from the record's folder on found from here.

        Raises RequestError for settings that are unknown here.
        """
        request = AnimationRequest.from_dict(self.request)
        return request.with_paths(lambda path: folder / path) if self.schema > 2 else request

    def write(self, path: Path) -> Path:
        """Write the record atomically at `path`. Raises MediaError if it cannot be written."""
        text = json.dumps(plain(self), indent=2, ensure_ascii=False)
        try:
            write_text(path, text + "\n", follow=False)
        except OSError as reason:
            raise MediaError(
                f"the record {path} cannot be written: {reason_of(reason)}"
            ) from reason
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
            if not verify:
                return True
            digests = {path.name: sha256(path) for path in paths}
            return ClipFile.of(clip, digests, size).sha256 == self.clip.sha256
        except OSError:
            return False


def clip_files(clip: Path) -> list[Path]:
    """The files that a clip consists of, so far as they are there."""
    if is_sequence(clip):
        return sequence_files(clip)
    return [clip] if clip.is_file() else []


def digest_of_names(digests: Mapping[str, str]) -> str:
    """SHA-256 over file names and the digests of their contents, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(digests):
        total.update(f"{name}\0{digests[name]}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def with_own_name(folder: Path) -> Path:
    """`folder` under a path that ends in its own name, for what is to stand beside it.

    Only ``.`` and ``..`` are looked up; other paths stay as they are. Raises MediaError for the
    root folder, which has no name.
    """
    if folder.name in ("", ".."):
        folder = Path(os.path.realpath(folder))
    if not folder.name:
        raise MediaError(f"nothing can stand beside the root folder {folder}; name a folder in it")
    return folder


def sidecar_path(clip: Path) -> Path:
    """The usual path of the record of `clip`: `clip.json` for `clip.mp4`, or for `clip/%04d.png`;
    `shot.v001.json` for `shot.v001/%04d.png`.

    Raises MediaError for images in the root folder, and for a path that ends in no name.
    """
    if is_sequence(clip):
        folder = with_own_name(clip.parent)
        return folder.with_name(f"{folder.name}.json")
    if not clip.name:
        raise MediaError(f"{clip} names no file; name one, such as {clip / 'clip.mp4'}")
    return clip.with_suffix(".json")


def record_paths(clip: Path) -> tuple[Path, Path]:
    """The paths that the record of `clip` may have: the usual one, and `clip.mp4.json` for where
    that one is the record of another clip, such as `clip.gif`."""
    usual = sidecar_path(clip)
    name = f"{usual.stem}.{clip.name}" if is_sequence(clip) else clip.name
    return usual, usual.with_name(f"{name}.json")


def find_record(clip: Path) -> Path | None:
    """The path of the record of `clip`; None where there is none.

    A usual one that cannot be read counts: reading it says what is wrong.
    """
    usual, longer = record_paths(clip)
    if longer.is_file() and _pattern(_clip_of(longer)) == _pattern(clip.name):
        return longer
    return usual if usual.is_file() and not is_of_another(usual, clip) else None


def is_of_another(record: Path, clip: Path) -> bool:
    """True if a record is that of another clip than `clip`, which is still there."""
    name = _clip_of(record)
    if name is None or _pattern(name) == _pattern(clip.name):
        return False
    folder = record.with_suffix("") if is_sequence(name) else record.parent
    return bool(clip_files(folder / name))


def _clip_of(record: Path) -> str | None:
    """Name of the clip that a record names; None where that cannot be read."""
    try:
        read = ClipRecord.read(record)
    except MediaError:
        return None
    return Path(str(read.request.get("output", ""))).name if read.clip is None else read.clip.name


def _pattern(name: str | None) -> str | None:
    """The name with one sign for the number in it, however that is written."""
    return None if name is None else FRAME_NUMBER.sub("#", name)


def versions(packages: Iterable[str] = RECORDED_PACKAGES) -> dict[str, str]:
    """Versions of the packages that decide a clip's pixels."""
    numbers = {"python": platform.python_version(), "platform": platform.platform()}
    for package in packages:
        try:
            numbers[package] = version(package)
        except PackageNotFoundError:  # run from a checkout that was never installed
            numbers[package] = "not installed"
    return numbers
