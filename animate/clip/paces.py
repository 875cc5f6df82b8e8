"""Paces of a clip's stages: measured in each run, kept in the cache, expected of the next.

They decide what is said of the time left and nothing else: a file that is missing, damaged or of
another kind is as good as none.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from animate.device import precision_of
from animate.driving.cache import PACES, users_cache
from animate.files import open_regular, write_bytes
from animate.generate.engine import Engine
from animate.generate.settings import ClipSettings, plan_clip
from animate.media.posed import PoseSource
from animate.media.source import FrameSource
from animate.progress import Course
from animate.request.request import AnimationRequest
from animate.request.schema import settings_of
from animate.request.setting import NONE, Setting

_SCHEMA = 1
_MOST = 64
"""Kinds of clips that are remembered; the one that was made last stays longest."""
_LARGEST = 64 * 1024
"""Bytes of a file that is read."""
_DECODING = 2.5
"""Passes through the UNet that decoding a frame takes as long as; the bundled model's takes 2.3."""
_ENCODING = 1.0
"""The same for encoding one."""
_POSES, _BACKGROUND = 0.05, 0.02
"""Seconds a frame where only networks were measured."""
_UNKNOWN = 0.1
"""Part of the networks' time that poses and background take each where nothing was measured."""
Paces = dict[str, dict[str, float]]
"""Seconds a step of each stage, by its name, of each kind of clip, by its digest."""


@dataclass(frozen=True, kw_only=True)
class StageCounts:
    """Steps of each stage of a clip; 0 where it has none."""

    poses: int
    background: int
    encode: int
    warp: int
    denoise: int
    decode: int
    passes: float
    """Frames that go through the UNet for a step of `denoise`."""

    @classmethod
    def of(
        cls,
        request: AnimationRequest,
        settings: ClipSettings,
        engine: Engine,
        frames: int,
        *,
        estimated: bool,
    ) -> StageCounts:
        """The counts of a clip of so many frames; `estimated`: poses are looked for in a video."""
        variant = engine.components.variant
        generated = frames + variant.leading_reference
        plan = plan_clip(settings, frames=generated, steps=settings.steps)
        through = sum(len(window.frames) for window in plan.at(0))
        halves = 1 if settings.guidance == (1, 1) else 2
        return cls(
            poses=frames if estimated else 0,
            background=2 * frames if request.place_in_driving else 0,
            encode=1,
            warp=generated if variant.image_latents == "warped" else 0,
            denoise=generated * settings.steps,
            decode=generated,
            passes=halves * through / generated,
        )

    def course(self, paces: Mapping[str, float]) -> Course:
        """The course of the clip by measured paces, or by the plan alone where the networks' are
        not among them."""
        if paces.keys() >= {"denoise", "decode"}:
            guessed = {"poses": _POSES, "background": _BACKGROUND}
            seconds = {
                name: count * paces.get(name, guessed.get(name, 0.0))
                for name, count in self._counts().items()
            }
            return Course(seconds={"restyle": 0.0, "skeletons": 0.0, **seconds}, measured=True)
        work = {
            "encode": _ENCODING * self.encode,
            "warp": _ENCODING * self.warp,
            "denoise": self.passes * self.denoise,
            "decode": _DECODING * self.decode,
        }
        ahead = _UNKNOWN * sum(work.values())
        motion = {
            "poses": ahead if self.poses else 0.0,
            "background": ahead if self.background else 0.0,
        }
        return Course(seconds={"restyle": 0.0, "skeletons": 0.0, **motion, **work})

    def _counts(self) -> dict[str, int]:
        names = [item.name for item in fields(self) if item.name != "passes"]
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class ClipPace:
    """The pace of one clip: what is expected of it, and the file that learns from it."""

    course: Course
    _file: Path | None
    _kind: str

    @classmethod
    def of(
        cls,
        request: AnimationRequest,
        settings: ClipSettings,
        engine: Engine,
        source: FrameSource,
        frames: int,
    ) -> ClipPace:
        """The pace of a clip of so many frames, by clips of its kind that were made before."""
        file = paces_file(request.runtime.cache)
        kind = kind_of_clip(request, settings, engine, source)
        estimated = request.poses is None and not isinstance(source, PoseSource)
        counts = StageCounts.of(request, settings, engine, frames, estimated=estimated)
        return cls(course=counts.course(read_paces(file).get(kind, {})), _file=file, _kind=kind)

    def keep(self, measured: Mapping[str, float]) -> None:
        """Learn from a clip that is there: the seconds a step that this run measured itself."""
        stages = {name: pace for name, pace in measured.items() if name in self.course.seconds}
        keep_paces(self._file, self._kind, stages)


def kind_of_clip(
    request: AnimationRequest, settings: ClipSettings, engine: Engine, source: FrameSource
) -> str:
    """A digest of all that a step's time depends on: every setting that says so, as it was settled,
    and the size of the driving pictures."""
    settled = {
        **{item.name: getattr(settings, item.name) for item in fields(settings)},
        "model": engine.components.variant.name,
        "device": engine.device,
        "precision": precision_of(engine.components.unet),
        "threads": torch.get_num_threads(),
    }
    parts = [
        (name, _kind_of_value(settled.get(name, setting.value(request)), setting))
        for name, setting in settings_of(AnimationRequest).items()
        if setting.timed
    ]
    return hashlib.sha256(repr((parts, source.info.size)).encode()).hexdigest()[:16]


def _kind_of_value(value: object, setting: Setting) -> str:
    """A value as text; of a file that is written its kind alone."""
    written = setting.role == "output" and isinstance(value, Path)
    return Path(str(value)).suffix.lower() if written else str(value)


def paces_file(folder: Path | None) -> Path | None:
    """The file that keeps paces, in the cache of poses; None where nothing is to be kept."""
    return None if folder == NONE else (folder or users_cache()) / PACES


def read_paces(file: Path | None) -> Paces:
    """The paces in a file, none where it is not one of ours; nothing is read through a link."""
    if file is None or file.is_symlink():
        return {}
    try:
        with open_regular(file) as opened:
            text = opened.read(_LARGEST + 1)
        content = json.loads(text) if len(text) <= _LARGEST else None
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict) or content.get("schema") != _SCHEMA:
        return {}
    kinds = content.get("paces")
    if not isinstance(kinds, dict) or not all(map(_are_paces, kinds.values())):
        return {}
    return kinds


def _are_paces(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(pace, float) and pace >= 0 and math.isfinite(pace) for pace in value.values()
    )


def keep_paces(file: Path | None, kind: str, measured: Mapping[str, float]) -> None:
    """Put the paces of a finished clip into the file; one that cannot be written is left."""
    if file is None:
        return
    paces = read_paces(file)
    newest = {**paces.pop(kind, {}), **{name: float(pace) for name, pace in measured.items()}}
    latest = dict([*paces.items(), (kind, newest)][-_MOST:])
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"schema": _SCHEMA, "paces": latest}, indent=0)
        write_bytes(file, text.encode(), follow=False)
