"""One clip to train on, from wherever it comes, and how several become a batch.

Shapes: B clips, F frames, h x w pixels, 134 points of one person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from animate.driving.limb_warp import LimbWarp
from pose import layout
from pose.draw import draw


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One clip and the poses in it."""

    reference: NDArray[np.uint8]
    """(h,w,3) RGB: the person in another frame."""
    frames: NDArray[np.uint8]
    """(F,h,w,3) RGB."""
    points: NDArray[np.float32]
    """(F,134,2) x, y in pixels of the frames."""
    scores: NDArray[np.float32]
    """(F,134)."""
    reference_points: NDArray[np.float32]
    """(134,2) x, y in pixels of the reference."""
    reference_scores: NDArray[np.float32]
    """(134,)."""
    name: str
    """Video and frames, in words."""


class Samples(Protocol):
    """Clips that a run trains on."""

    digest: str
    """Digest of everything that decides the samples."""

    def sample(self, frames: int, rng: Generator) -> Sample:
        """A clip of so many frames, by the generator's draws alone."""

    def held_out(self, frames: int, count: int) -> list[Sample]:
        """Clips to validate on: always the same, never mirrored."""


@dataclass(frozen=True, kw_only=True)
class SampleBatch:
    """B clips of F frames, with their skeletons drawn. Images are uint8 RGB."""

    reference: NDArray[np.uint8]
    """(B,h,w,3)."""
    frames: NDArray[np.uint8]
    """(B,F,h,w,3)."""
    control: NDArray[np.uint8]
    """(B,F,h,w,3)."""
    points: NDArray[np.float32]
    """(B,F,134,2)."""
    scores: NDArray[np.float32]
    """(B,F,134)."""
    names: tuple[str, ...]
    warped: NDArray[np.uint8] | None = None
    """(B,F,h,w,3): the reference brought to each frame's pose; None: the reference is taken."""


def collate(samples: Sequence[Sample], style: str, *, warp: bool = False) -> SampleBatch:
    """A batch of clips of one size; skeletons are drawn, and references brought to poses if the
    model `warp`s them, as inference does it."""
    height, width = samples[0].reference.shape[:2]
    return SampleBatch(
        reference=np.stack([sample.reference for sample in samples]),
        frames=np.stack([sample.frames for sample in samples]),
        control=np.stack(
            [
                draw_control(sample.points, sample.scores, (width, height), style)
                for sample in samples
            ]
        ),
        points=np.stack([sample.points for sample in samples]),
        scores=np.stack([sample.scores for sample in samples]),
        names=tuple(sample.name for sample in samples),
        warped=np.stack([warped_reference(sample) for sample in samples]) if warp else None,
    )


def warped_reference(sample: Sample) -> NDArray[np.uint8]:
    """(F,h,w,3): the reference of a clip brought to the pose of each frame."""
    limbs = LimbWarp(sample.reference, sample.reference_points, sample.reference_scores)
    poses = zip(sample.points, sample.scores, strict=True)
    return np.stack([limbs(points, scores) for points, scores in poses])


def pixels(images: NDArray[np.uint8]) -> Tensor:
    """(...,3,h,w) in [-1,1] from uint8 (...,h,w,3)."""
    tensor = torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, -3)))
    return tensor.float() / 127.5 - 1


def mirrored(
    images: NDArray[np.uint8], points: NDArray[np.float32], scores: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """The clip in a mirror: left and right change their names too."""
    width = images.shape[-2]
    turned = points[:, list(layout.MIRROR)].copy()
    turned[..., 0] = width - turned[..., 0]
    return np.ascontiguousarray(images[:, :, ::-1]), turned, scores[:, list(layout.MIRROR)]


def draw_control(
    points: NDArray[np.float32], scores: NDArray[np.float32], size: tuple[int, int], style: str
) -> NDArray[np.uint8]:
    """Control frames (F,h,w,3) of one person's points (F,134,2) and scores (F,134)."""
    return np.stack(
        [
            draw(pose[None], score[None], size, size, style)
            for pose, score in zip(points, scores, strict=True)
        ]
    )
