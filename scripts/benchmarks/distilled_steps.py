"""Steps of a distilled model against Euler's, on the bundled model, which is none.

The bundled model was trained to go to the clean clip in one step, and predicts it well from any
noise level; how much a really distilled one gains cannot be measured here. What shows is that the
levels, the clean clip of every step and the fresh noise are right: wrong ones lose decibels.
"""

from __future__ import annotations

from scripts.benchmarks._clips import Studio, Way
from scripts.benchmarks.rows import Row
from scripts.benchmarks.shortcuts import rows_of

FRAMES = 8
CLIPS = 3
LEVELS = 40
STEPS = (1, 2, 4, 8)


def run(model: str = "tiny", clips: int = CLIPS, frames: int = FRAMES) -> list[Row]:
    euler, distilled = Studio(model), Studio(model, levels=LEVELS)
    takes = [euler.take(number, frames) for number in range(clips)]
    rows = []
    for steps in STEPS:
        way = Way(steps=steps)
        pairs = [(distilled.make(take, way), euler.make(take, way)) for take in takes]
        mine, theirs = [a for a, _ in pairs], [b for _, b in pairs]
        rows += rows_of(f"{steps} distilled", mine, f"{steps} of Euler", theirs, takes)
    return rows
