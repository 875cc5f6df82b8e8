"""A job's key: a hash of its inputs, its resolved settings and its model's weights.

Two jobs with one key make the same clip; a record with a job's key is of that very clip. Names and
places of files do not count, their contents do. Neither do the device, threads or memory plan,
which change nothing beyond rounding, nor this program's version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from animate.batch.paths import BESIDES
from animate.errors import MediaError
from animate.files import check_readable, sha256, sha256_of
from animate.generate.settings import settle
from animate.models.store import recorded_digest
from animate.models.variants import ModelVariant, resolve
from animate.request.request import AnimationRequest
from animate.request.schema import plain
from animate.request.values import Size


@dataclass(frozen=True, kw_only=True)
class Key:
    """What decides a clip, in parts that can be compared.

    Attributes:
        inputs: SHA-256 of the reference, the driving video, the poses.
        settings: every setting as resolved.
        weights: SHA-256 of the model's weight files.
    """

    inputs: Mapping[str, str]
    settings: Mapping[str, Any]
    weights: Mapping[str, str]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all of it."""
        return hashlib.sha256(json.dumps(plain(self), sort_keys=True).encode()).hexdigest()

    def changes(self, kept: Mapping[str, Any]) -> str:
        """What differs from a record's key parts, in words."""
        words = []
        for part, name in (("inputs", "{}"), ("settings", "{}"), ("weights", "model weights {}")):
            new, old = plain(getattr(self, part)), kept.get(part) or {}
            for item in sorted({*new, *old}):
                if new.get(item) != old.get(item):
                    shown = f" {old.get(item)} -> {new.get(item)}" if part == "settings" else ""
                    words.append(name.format(item) + shown)
        return ", ".join(words) or "the key's own form"


class Keys:
    """Computes keys; a file is read once as long as its size and time stay."""

    def __init__(self) -> None:
        self._digests: dict[tuple[str, int, int], str] = {}
        self._sizes: dict[tuple[str, int, int], Size] = {}
        self._models: dict[str, tuple[ModelVariant, dict[str, str]]] = {}

    def of(self, request: AnimationRequest) -> Key:
        """The key of a request.

        Raises MediaError, RequestError or ModelError where the job cannot work.
        """
        variant, weights = self.model(request.model)
        inputs = {
            "reference": self.digest(request.reference, "reference image"),
            "driving": self._driving(request.driving),
        }
        if request.poses is not None:
            inputs["poses"] = self.digest(request.poses, "pose file")
        if request.runtime.estimator_folder is not None:
            folder = request.runtime.estimator_folder
            inputs["estimator_folder"] = self.digest(folder, "estimator folder")
        if request.runtime.sign is not None:  # who signs, with whatever key
            inputs["certificate"] = self.digest(request.runtime.sign.chain, "certificate")
        for number, one in enumerate(request.lora, start=1):
            inputs[f"lora {number}"] = self.digest(one.path, "adapters")
        settings = settle(request, variant, self._size_of(request))
        own = plain(request)
        for name in ("reference", "driving", "output", "poses", "overwrite", "runtime", "sampling"):
            del own[name]
        resolved = {**own, **plain(settings), "model": variant.name}
        resolved["lora"] = [one.weight for one in request.lora]
        for name in BESIDES:  # asking for one more is a reason to make it
            resolved[name] = own[name] and Path(own[name]).name
        resolved["kind"] = request.output.suffix.lower()
        resolved["precision"] = request.runtime.precision
        return Key(inputs=inputs, settings=resolved, weights=weights)

    def model(self, name: str) -> tuple[ModelVariant, dict[str, str]]:
        """The variant of that name, and the digests of its weights. Raises ModelError."""
        if name not in self._models:
            variant = resolve(name).variant
            digests = {}
            for component in variant.components.values():
                for reference in component.weights:
                    file = variant.file(reference)
                    place = file.locate()
                    stated = file.digest or (recorded_digest(place) if place else None)
                    digests[file.path] = stated or "not here"
            self._models[name] = variant, digests
        return self._models[name]

    def digest(self, path: Path, what: str = "file") -> str:
        """SHA-256 of a file or folder. Raises MediaError when it cannot be read."""
        if path.is_dir():
            return sha256_of(path)
        check_readable(path, what, MediaError)
        stamp = _stamp(path)
        if stamp not in self._digests:
            self._digests[stamp] = sha256(path)
        return self._digests[stamp]

    def _driving(self, path: Path) -> str:
        from animate.media import check_driving, source_digest

        check_driving(path)
        return self.digest(path, "driving video") if path.is_file() else source_digest(path)

    def _size_of(self, request: AnimationRequest) -> Size:
        """The reference's size, by reading no more than its head where that is enough."""
        if request.size is not None:
            return request.size
        stamp = _stamp(request.reference)
        if stamp not in self._sizes:
            from animate.media import read_image

            height, width = read_image(request.reference).shape[:2]
            self._sizes[stamp] = Size(width, height)
        return self._sizes[stamp]


def _stamp(path: Path) -> tuple[str, int, int]:
    state = path.stat()
    return str(path), state.st_size, state.st_mtime_ns
