"""Clips of the bundled model for benchmarks: rendered people whose truth is known, made by the
product's own pipeline."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray

from animate.driving.limb_warp import LimbWarp
from animate.driving.skeletons import ControlFrames, DrawnSkeletons
from animate.evaluation import measures
from animate.evaluation.protocols import EQUAL_PSNR
from animate.generate.pipeline import Engine, generate
from animate.generate.settings import ClipSettings, plan_clip, settle
from animate.models.components import load_components
from animate.models.variants import load_variant
from animate.progress import Quiet
from animate.request.request import AnimationRequest, Levels, SamplingOptions, Solver
from animate.request.values import Guidance, NoiseInterval, Size
from pose.sequence import PoseSequence
from scripts.tiny.characters import Take, render_clip
from temporal.kinds import PublishedName, Schedule, WeightName
from temporal.windows import WindowPlan

# Far from the seeds that training data start from.
_FIRST_SEED = 900_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Way:
    """A way to sample; None is the variant's own setting."""

    schedule: Schedule | PublishedName | None = None
    fusing: WeightName | None = None
    overlap: int | None = None
    steps: int | None = None
    solver: Solver = "euler"
    levels: Levels = "model"
    guidance: Guidance | None = None
    guidance_interval: NoiseInterval | None = None
    keep_features: int = 1
    keep_control: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    """A clip and what it took."""

    frames: NDArray[np.uint8]
    """(F,H,W,3) RGB."""
    seconds: float
    """Processor time of all threads, from the reference to the last frame."""


class Studio:
    """The bundled model, ready to make clips; `levels` turns it into one that is told to be
    distilled at so many noise levels."""

    def __init__(self, name: str = "tiny", *, levels: int | None = None) -> None:
        variant = dataclasses.replace(load_variant(name), distilled_levels=levels)
        self.engine = Engine(components=load_components(variant), device=torch.device("cpu"))
        self.variant = variant
        self.size: Size = variant.sizes[0]

    def take(self, number: int, frames: int) -> Take:
        """A person and a motion that no training has seen; the same for the same number."""
        return render_clip(_FIRST_SEED + number, frames, (self.size.width, self.size.height))

    def settings(self, way: Way) -> ClipSettings:
        """Everything that a way samples with."""
        chosen = {f.name: getattr(way, f.name) for f in dataclasses.fields(way)}
        request = AnimationRequest(
            reference="-",
            driving="-",
            output="-",
            size=self.size,
            sampling=SamplingOptions(**chosen),
        )
        return settle(request, self.variant, self.size)

    def plan(self, way: Way, frames: int) -> WindowPlan:
        """The windows of a way."""
        settings = self.settings(way)
        return plan_clip(settings, frames=frames, steps=settings.steps)

    def draw(self, points: np.ndarray, scores: np.ndarray) -> ControlFrames:
        """Control frames of poses (F,134,2) with scores (F,134)."""
        return skeletons(points, scores, self.size, self.variant.pose_style)

    def frames(
        self, take: Take, way: Way, points: np.ndarray, scores: np.ndarray
    ) -> Iterator[NDArray[np.uint8]]:
        """Frames (H,W,3) uint8 of the take's person in these poses, as they are decoded."""
        limbs = LimbWarp(take.reference, take.reference_points, take.reference_scores)
        return generate(
            self.engine,
            self.settings(way),
            take.reference,
            self.draw(points, scores),
            Quiet(),
            picture_of=limbs.follow(poses(points, scores, self.size)),
        )

    def make(self, take: Take, way: Way) -> Made:
        """The clip of a take."""
        began = time.process_time()
        frames = np.stack(list(self.frames(take, way, take.points, take.scores)))
        return Made(frames=frames, seconds=time.process_time() - began)


def poses(points: np.ndarray, scores: np.ndarray, size: Size) -> PoseSequence:
    """One person's poses (F,134,2) on a canvas of that size, with scores (F,134)."""
    return PoseSequence(
        points=points[:, None],
        scores=scores[:, None],
        canvas=(size.width, size.height),
        fps=Fraction(12),
        times=np.arange(len(points)) / 12,
    )


def skeletons(points: np.ndarray, scores: np.ndarray, size: Size, style: str) -> ControlFrames:
    """Control frames of poses (F,134,2) on a canvas of that size, with scores (F,134)."""
    return ControlFrames(DrawnSkeletons(poses(points, scores, size), size, style))


def psnr(generated: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """Decibels of a clip (F,H,W,3): the mean over its frames."""
    pairs = zip(generated, truth, strict=True)
    return float(np.mean([min(EQUAL_PSNR, measures.psnr(frame, true)) for frame, true in pairs]))
