"""Clips of procedural characters, rendered once into memory-mapped shards, and batches of them.

A shard is a folder of three arrays. Its seeds follow from its number, so any machine renders the
same.

Shapes: N clips of a shard, F target frames (a clip stores F + 1: its reference comes first),
h x w pixels, 134 points.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from animate.driving.limb_warp import LimbWarp
from animate.errors import TrainingError
from animate.training.samples import draw_control, mirrored
from pose import layout
from pose.estimators.blazepose.mask import person_mask
from scripts.bundled.shards import rendered
from scripts.tiny.characters import render_clip

SHARD = 100
"""Clips a shard."""
_ARRAYS = ("images", "points", "scores", "masks")
"""Files of a shard."""

# Part of a cache's name: raise it when the renderer's pictures change.
RENDERER = 2


@dataclass(frozen=True, kw_only=True)
class ClipSet:
    """Clips of one size: which seeds, how many frames.

    Raises `TrainingError` for sizes that the networks cannot take.
    """

    size: tuple[int, int]
    """(width, height) in pixels, multiples of 16."""
    clips: int
    """Number of characters."""
    frames: int = 8
    """Target frames of each."""
    first_seed: int = 0
    """Seed of the first; held-out characters start at a million."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", tuple(self.size))
        if len(self.size) != 2 or any(side < 16 or side % 16 for side in self.size):
            raise TrainingError(f"size {self.size} is not two multiples of 16")
        if self.clips < 1 or self.frames < 1:
            raise TrainingError("a clip set needs at least one clip of one frame")

    @property
    def name(self) -> str:
        width, height = self.size
        return f"r{RENDERER}-{width}x{height}x{self.frames}-{self.first_seed}"

    def shards(self) -> Iterator[tuple[int, int]]:
        """(first clip, number of clips) of each shard."""
        for first in range(0, self.clips, SHARD):
            yield first, min(SHARD, self.clips - first)


def _shard_folder(cache: Path, clips: ClipSet, first: int, count: int) -> Path:
    return cache / clips.name / f"{first:06d}-{count:03d}"


def render_shard(cache: Path, clips: ClipSet, first: int, count: int) -> Path:
    """Render one shard, unless it is there, and return its folder."""
    return rendered(
        _shard_folder(cache, clips, first, count),
        lambda folder: _render_clips(folder, clips, first, count),
    )


def _render_clips(folder: Path, clips: ClipSet, first: int, count: int) -> None:
    width, height = clips.size
    images = np.empty((count, clips.frames + 1, height, width, 3), np.uint8)
    points = np.empty((count, clips.frames + 1, layout.POINTS, 2), np.float32)
    scores = np.empty((count, clips.frames + 1, layout.POINTS), np.float32)
    masks = np.empty((count, height, width), np.uint8)
    for row in range(count):
        take = render_clip(clips.first_seed + first + row, clips.frames, clips.size)
        images[row, 0], images[row, 1:] = take.reference, take.frames
        points[row, 0], points[row, 1:] = take.reference_points, take.points
        scores[row, 0], scores[row, 1:] = take.reference_scores, take.scores
        mask = person_mask(take.reference, take.reference_points, take.reference_scores)
        masks[row] = (255 * mask).round()
    arrays: list[NDArray[Any]] = [images, points, scores, masks]
    for name, array in zip(_ARRAYS, arrays, strict=True):
        np.save(folder / f"{name}.npy", array)


def render_set(cache: Path, clips: ClipSet, workers: int = 1) -> None:
    """Render every shard of the set that is missing, in `workers` processes."""
    jobs = [(cache, clips, *shard) for shard in clips.shards()]
    if workers == 1:
        for job in jobs:
            render_shard(*job)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(render_shard, *job) for job in jobs]:
            future.result()


class Clips:
    """A rendered set, memory-mapped."""

    def __init__(self, cache: Path, clips: ClipSet) -> None:
        """Raises `TrainingError` when a shard is missing."""
        self.set = clips
        self._arrays = []
        for first, count in clips.shards():
            folder = _shard_folder(cache, clips, first, count)
            if not folder.is_dir():
                raise TrainingError(f"clips {folder} are not rendered yet; render the set first")
            self._arrays.append(
                tuple(np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS)
            )

    def __len__(self) -> int:
        return self.set.clips

    def take(
        self, index: int, start: int, frames: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        """Images (1+frames,h,w,3), points and scores of a clip: the reference, then its frames
        `start` and after."""
        images, points, scores, _ = self._arrays[index // SHARD]
        row = index % SHARD
        picked = [0, *range(1 + start, 1 + start + frames)]
        return (
            np.ascontiguousarray(images[row, picked]),
            np.array(points[row, picked]),
            np.array(scores[row, picked]),
        )

    def mask(self, index: int) -> NDArray[np.uint8]:
        """(h,w): the segmentation's mask of a clip's reference, 255 on the person."""
        masks = self._arrays[index // SHARD][-1]
        return np.array(masks[index % SHARD])


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B clips of F frames. Images are uint8 RGB."""

    reference: NDArray[np.uint8]
    """(B,h,w,3)."""
    frames: NDArray[np.uint8]
    """(B,F,h,w,3)."""
    control: NDArray[np.uint8]
    """(B,F,h,w,3) drawn skeletons."""
    warped: NDArray[np.uint8] | None = None
    """(B,F,h,w,3): the reference brought to each frame's pose; None: the reference is taken."""
    names: tuple[str, ...] = ()
    """Characters and sizes, in words."""


@dataclass(frozen=True, kw_only=True)
class PoseNoise:
    """Errors of pose estimators: chances and sizes, for each clip unless said otherwise."""

    no_face: float = 0.1
    """Chance that the 68 face points are lost."""
    no_hand: float = 0.2
    """Chance that a hand is lost, for each hand."""
    no_joint: float = 0.02
    """Chance that one body joint is lost, for each joint."""
    jitter: float = 0.003
    """Standard deviation of a point's place in a frame, in short sides of the picture."""
    dimmed: float = 0.5
    """Chance that scores are below 1; then each part's is drawn between 0.55 and 1."""


def as_estimated(
    points: NDArray[np.float32],
    scores: NDArray[np.float32],
    short_side: int,
    noise: PoseNoise,
    rng: Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """True points (F,134,2) and scores (F,134) as an estimator would give them."""
    scores = scores.copy()
    frames = len(points)
    spread = noise.jitter * short_side * float(rng.uniform(0, 1.5))
    jitter = spread * rng.standard_normal((frames, layout.POINTS, 2))
    # Points of a face or a hand are found together and err together.
    for part in (layout.FACE, *layout.HANDS):
        jitter[:, part] *= 0.35
    points = points + jitter.astype(np.float32)
    if rng.uniform() < noise.no_face:
        scores[:, layout.FACE] = 0
    for hand in layout.HANDS:
        if rng.uniform() < noise.no_hand:
            scores[:, hand] = 0
    lost = rng.random(layout.BODY.stop) < noise.no_joint
    scores[:, : layout.BODY.stop][:, lost] = 0
    if rng.uniform() < noise.dimmed:
        level = np.ones(layout.POINTS, np.float32)
        level[layout.BODY] = rng.uniform(0.75, 1, layout.BODY.stop)
        for part in (layout.FACE, *layout.HANDS):
            level[part] = rng.uniform(0.55, 1)
        scores = scores * level
    return points, scores.astype(np.float32)


Estimated = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Points (F,134,2) and scores (F,134)."""


def warp(
    reference: NDArray[np.uint8], mask: NDArray[np.uint8], known: Estimated, poses: Estimated
) -> NDArray[np.uint8]:
    """(F,h,w,3): the reference (h,w,3), whose one pose and mask (h,w) are known, brought to
    poses."""
    limbs = LimbWarp(reference, known[0][0], known[1][0], mask / np.float32(255))
    return np.stack([limbs(*pose) for pose in zip(*poses, strict=True)])


def sample_batch(
    sets: Sequence[Clips],
    *,
    clips: int,
    frames: int,
    style: str,
    noise: PoseNoise,
    rng: Generator,
    unwarped: float | None = None,
) -> Batch:
    """A batch from one of the sets, chosen by its number of clips; mirrored half the time.

    unwarped: share of clips whose reference stays as it is in all frames; None: of all, and
        `warped` is None
    """
    counts = np.array([len(clip_set) for clip_set in sets], float)
    chosen = sets[int(rng.choice(len(sets), p=counts / counts.sum()))]
    size = chosen.set.size
    references, targets, controls, names = [], [], [], []
    warped: list[NDArray[np.uint8]] = []
    for _ in range(clips):
        index = int(rng.integers(len(chosen)))
        start = int(rng.integers(chosen.set.frames - frames + 1))
        images, points, scores = chosen.take(index, start, frames)
        mask = chosen.mask(index)
        if rng.uniform() < 0.5:
            images, points, scores = mirrored(images, points, scores)
            mask = np.ascontiguousarray(mask[:, ::-1])
        seen, confidence = as_estimated(points[1:], scores[1:], min(size), noise, rng)
        if unwarped is not None:
            known = as_estimated(points[:1], scores[:1], min(size), noise, rng)
            still = rng.uniform() < unwarped
            warped.append(
                np.repeat(images[:1], frames, 0)
                if still
                else warp(images[0], mask, known, (seen, confidence))
            )
        references.append(images[0])
        targets.append(images[1:])
        controls.append(draw_control(seen, confidence, size, style))
        names.append(f"character {chosen.set.first_seed + index}, {size[0]}x{size[1]}")
    return Batch(
        reference=np.stack(references),
        frames=np.stack(targets),
        control=np.stack(controls),
        warped=None if unwarped is None else np.stack(warped),
        names=tuple(names),
    )
