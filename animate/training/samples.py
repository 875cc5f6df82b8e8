"""One clip to train on, from wherever it comes, and how several become a batch.

Shapes: B clips, F frames, h x w pixels, 134 points of one person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from animate.training.checkpoints import digest_of
from animate.training.config import SetRecipe
from animate.training.data import Clips, ClipSet, draw_control, mirrored, render_set


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
    name: str
    """What it is, in words."""


class Samples(Protocol):
    """What a run trains on."""

    digest: str
    """Of everything in it that decides the samples."""

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


def collate(samples: Sequence[Sample], style: str) -> SampleBatch:
    """A batch of clips of one size; skeletons are drawn as inference draws them."""
    height, width = samples[0].reference.shape[:2]
    return SampleBatch(
        reference=np.stack([one.reference for one in samples]),
        frames=np.stack([one.frames for one in samples]),
        control=np.stack(
            [draw_control(one.points, one.scores, (width, height), style) for one in samples]
        ),
        points=np.stack([one.points for one in samples]),
        scores=np.stack([one.scores for one in samples]),
        names=tuple(one.name for one in samples),
    )


class CharacterSamples:
    """Procedural characters; see `animate.training.data`."""

    def __init__(self, sets: Sequence[Clips], digest: str) -> None:
        self.sets, self.digest = sets, digest
        counts = np.array([len(one) for one in sets], float)
        self._shares = counts / counts.sum()

    def sample(self, frames: int, rng: Generator) -> Sample:
        """See `Samples`; mirrored half the time."""
        chosen = self.sets[int(rng.choice(len(self.sets), p=self._shares))]
        index = int(rng.integers(len(chosen)))
        start = int(rng.integers(chosen.set.frames - frames + 1))
        return _character(chosen, index, start, frames, mirror=rng.uniform() < 0.5)

    def held_out(self, frames: int, count: int) -> list[Sample]:
        """See `Samples`: characters that no recipe trains on."""
        from animate.training.characters import render_clip
        from animate.training.evaluation import HELD_OUT

        samples = []
        for number in range(count):
            size = self.sets[number % len(self.sets)].set.size
            take = render_clip(HELD_OUT + number, frames, size)
            samples.append(
                Sample(
                    reference=take.reference,
                    frames=take.frames,
                    points=take.points,
                    scores=take.scores,
                    name=f"held-out character {number}",
                )
            )
        return samples


def character_samples(folder: Path, recipes: Sequence[SetRecipe]) -> CharacterSamples:
    """The sets of a run in `folder`, rendered beside it if they are not yet."""
    cache = folder.parent / "clips"
    sets = [ClipSet(size=(one.size[0], one.size[1]), clips=one.clips) for one in recipes]
    for one in sets:
        render_set(cache, one)
    return CharacterSamples([Clips(cache, one) for one in sets], digest_of([s.name for s in sets]))


def _character(clips: Clips, index: int, start: int, frames: int, *, mirror: bool) -> Sample:
    images, points, scores = clips.take(index, start, frames)
    if mirror:
        images, points, scores = mirrored(images, points, scores)
    return Sample(
        reference=images[0],
        frames=images[1:],
        points=points[1:],
        scores=scores[1:],
        name=f"character {clips.set.first_seed + index}, frames {start} to {start + frames - 1}",
    )
