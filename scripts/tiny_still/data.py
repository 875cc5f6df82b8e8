"""Pictures of described people, rendered once into memory-mapped shards, and batches of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from animate.progress import Progress
from animate.training.samples import draw_control
from scripts.bundled.shards import rendered
from scripts.tiny.data import PoseNoise, as_estimated
from scripts.tiny_still.people import Words, phrase, render
from scripts.tiny_still.recipe import StillRecipe

SHARD = 100
"""People a shard."""
RENDERER = 1
"""Part of a cache's name: raise it when the renderer's pictures change."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B pictures with captions and control pictures. Images are uint8 RGB."""

    pictures: NDArray[np.uint8]
    """(B,h,w,3)."""
    control: NDArray[np.uint8]
    """(B,h,w,3) drawn skeletons."""
    captions: list[str]
    names: tuple[str, ...]


class People:
    """Rendered people; shards that are missing are rendered when it is opened."""

    def __init__(self, recipe: StillRecipe, progress: Progress) -> None:
        width, height = recipe.size
        sizes = recipe.pictures
        cache = recipe.folder / "pictures" / f"r{RENDERER}-{width}x{height}x{sizes.poses}"
        starts = range(0, sizes.people, SHARD)
        self._pictures, self._control, self._words = [], [], []
        with progress.stage("people", len(starts)) as stage:
            for first in starts:
                people = range(first, min(first + SHARD, sizes.people))
                folder = rendered(
                    cache / f"{first:06d}-{len(people):03d}",
                    lambda folder, people=people: _render(folder, recipe, people),  # type: ignore[misc]
                )
                self._pictures.append(np.load(folder / "pictures.npy", mmap_mode="r"))
                self._control.append(np.load(folder / "control.npy", mmap_mode="r"))
                rows = json.loads((folder / "words.json").read_text(encoding="utf-8"))
                self._words += [Words(**row) for row in rows]
                stage.advance()

    def __len__(self) -> int:
        return len(self._words)

    def batch(self, count: int, rng: Generator, first: int | None = None) -> Batch:
        """Pictures of people that the generator draws, each with a new caption.

        first: draw from so many of the first people; None: from all
        """
        people = min(first or len(self), len(self))
        pictures, controls, captions, names = [], [], [], []
        for _ in range(count):
            person = int(rng.integers(people))
            shard, row = divmod(person, SHARD)
            pose = int(rng.integers(self._pictures[shard].shape[1]))
            pictures.append(self._pictures[shard][row, pose])
            controls.append(self._control[shard][row, pose])
            captions.append(phrase(self._words[person], rng))
            names.append(f"person {person}, pose {pose}")
        return Batch(
            pictures=np.stack(pictures),
            control=np.stack(controls),
            captions=captions,
            names=tuple(names),
        )


def _render(folder: Path, recipe: StillRecipe, people: Sequence[int]) -> None:
    """Write the pictures, skeletons and words of people, by their seeds."""
    pictures, controls, words = [], [], []
    for seed in people:
        scene = render(seed, recipe.pictures.poses, recipe.size)
        rng = np.random.default_rng([seed, 6])
        points, scores = as_estimated(
            scene.points, scene.scores, min(recipe.size), PoseNoise(), rng
        )
        pictures.append(scene.pictures)
        controls.append(draw_control(points, scores, recipe.size, recipe.pictures.pose_style))
        words.append(asdict(scene.words))
    np.save(folder / "pictures.npy", np.stack(pictures))
    np.save(folder / "control.npy", np.stack(controls))
    (folder / "words.json").write_text(json.dumps(words), encoding="utf-8")
