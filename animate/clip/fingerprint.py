"""The one answer to "what decides the pictures" of a clip, and to "what decides its file".

Two clips with the same fingerprint have the same frames, but for rounding. Names of input files do
not count, their contents do; neither do the device, threads or memory plan. A file of the
same frames may still differ in its kind, codec, sound, or in the files beside it (`file_settings`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from animate.errors import UserError
from animate.files import is_sequence, sha256
from animate.generate.settings import ClipSettings
from animate.media import source_digest
from animate.models.adapter_files import adapter_file
from animate.request.request import AnimationRequest
from animate.request.schema import plain, settings_of

Stamp = tuple[str, int, int, int, int]


class FileDigests:
    """SHA-256 of files, each read once for as long as it is not changed.

    One object serves a run or a whole batch, and may be sent to other processes.
    """

    def __init__(self) -> None:
        self._known: dict[Stamp, str] = {}

    def of(self, path: str | os.PathLike[str]) -> str:
        """Digest of a file, or over the names and contents of a folder's files or of numbered
        images. Raises OSError."""
        if is_sequence(path):
            return self.of_driving(path)
        if Path(path).is_dir():
            digest = hashlib.sha256()
            for file in sorted(file for file in Path(path).iterdir() if file.is_file()):
                digest.update(os.fsencode(file.name) + f"\0{self.of(file)}\n".encode())
            return digest.hexdigest()
        stamp = _stamp(path)
        if stamp not in self._known:
            self._known[stamp] = sha256(path)
        return self._known[stamp]

    def remember(self, path: str | os.PathLike[str], digest: str) -> None:
        """Take the digest of a file that somebody has read just now."""
        self._known[_stamp(path)] = digest

    def of_driving(self, path: str | os.PathLike[str]) -> str:
        """Digest of a driving video, or of numbered images; see `animate.media.source_digest`."""
        return source_digest(path, self.of)

    def of_inputs(self, request: AnimationRequest) -> dict[str, str]:
        """Digest of each input by the name of its setting; adapters as `lora 1`, `lora 2`, ...

        Raises OSError or ModelError for files that cannot be read.
        """
        digests: dict[str, str] = {}
        for name, setting in settings_of(AnimationRequest).items():
            value: object = setting.value(request) if setting.role == "input" else None
            if name == "driving":
                digests[name] = self.of_driving(request.driving)
            elif isinstance(value, Path):
                digests[name] = self.of(value)
            elif isinstance(value, tuple):
                for number, adapter in enumerate(value, start=1):
                    digests[f"{name} {number}"] = self.of(adapter_file(adapter.path))
        return digests  # of models the weights count, which `Fingerprint` has beside them

    def changed_inputs(
        self, request: AnimationRequest, before: Mapping[str, str]
    ) -> tuple[str, ...]:
        """Names of inputs whose files are others than when their digests were taken. One that is
        gone or cannot be read any more was read to its end before."""
        with suppress(OSError, UserError):
            now = self.of_inputs(request)
            return tuple(name for name in before if now.get(name) != before[name])
        return ()


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """Everything that decides a clip, in parts that can be compared."""

    inputs: Mapping[str, str]
    """SHA-256 of each input, by the name of its setting."""
    settings: Mapping[str, object]
    """Every setting as resolved."""
    weights: Mapping[str, str]
    """SHA-256 of the model's weight files."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all of it."""
        return hashlib.sha256(json.dumps(plain(self), sort_keys=True).encode()).hexdigest()

    def changes(self, before: Mapping[str, Mapping[str, object]]) -> str:
        """Differences from the parts of an earlier fingerprint, in words."""
        words = []
        for part in ("inputs", "settings", "weights"):
            new, old = plain(getattr(self, part)), before.get(part) or {}
            for name in sorted({*new, *old}):
                if new.get(name) == old.get(name):
                    continue
                prefix = "model weights " if part == "weights" else ""
                values = f" {old.get(name)} -> {new.get(name)}" if part == "settings" else ""
                words.append(f"{prefix}{name}{values}")
        return ", ".join(words) or "the key's own form"


def picture_settings(
    request: AnimationRequest, settings: ClipSettings, model: str
) -> dict[str, object]:
    """Every setting that decides the pictures, as plain values; `model` is the variant's name.

    Those whose role is `look`, resolved where the model decides, and the weights of adapters.
    """
    return {
        **request.look(),
        **plain(settings),
        "model": model,
        "eight_bit": request.runtime.precision == "int8",
    }


def file_settings(request: AnimationRequest) -> dict[str, object]:
    """Every setting that decides the clip's file besides: those whose role is `output`.

    Of files only what tells them apart where they are moved together: the clip's kind, the names
    of those beside it.
    """
    values: dict[str, object] = {"kind": request.output.suffix.lower()}
    for setting in settings_of(AnimationRequest).values():
        if setting.role == "output" and setting.name != "output":
            value = setting.value(request)
            values[setting.name] = value.name if isinstance(value, Path) else plain(value)
    return values


def _stamp(path: str | os.PathLike[str]) -> Stamp:
    state = os.stat(path)
    return os.path.abspath(path), state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
