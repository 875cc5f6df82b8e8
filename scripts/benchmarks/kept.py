"""Features and control kept from step to step, on the bundled model in ten steps."""

from __future__ import annotations

from dataclasses import replace

from scripts.benchmarks._clips import Studio, Way
from scripts.benchmarks.rows import Row
from scripts.benchmarks.shortcuts import compare

FRAMES = 8
CLIPS = 4


def run(model: str = "tiny", clips: int = CLIPS, frames: int = FRAMES) -> list[Row]:
    studio = Studio(model)
    takes = [studio.take(number, frames) for number in range(clips)]
    ten = Way(steps=10)
    ways = {
        **{f"features at one step in {n}": replace(ten, keep_features=n) for n in (2, 3, 5)},
        **{f"control at one step in {n}": replace(ten, keep_control=n) for n in (2, 3, 5, 10)},
    }
    return compare(studio, takes, "10 steps", ten, ways)
