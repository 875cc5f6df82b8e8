"""Seams at window borders of the bundled model, for each schedule and fusing, at equal cost.

The score is that of `cnx evaluate` (`animate.evaluation.measures.seam_score`) at the borders of the
last step's windows, which decides the fine detail. It would also see the person's own motion; so
that of the true frames stands beside it as the baseline: a ratio of 1 is no seam. The largest jump
of the error (picture minus truth) over the median one is given for each, since a schedule that
moves its borders has no fixed ones.
"""

from __future__ import annotations

import dataclasses
import statistics

import numpy as np
from numpy.typing import NDArray

from animate.evaluation.asked import step_borders
from animate.evaluation.measures import seam_score
from scripts.benchmarks._clips import Studio, Way, psnr
from scripts.benchmarks.rows import Row
from scripts.tiny.characters import Take
from temporal.errors import TemporalError
from temporal.kinds import Schedule
from temporal.slot_weights import WEIGHTS
from temporal.windows import SCHEDULES

FRAMES = 48
CLIPS = 1


def run(model: str = "tiny") -> list[Row]:
    studio = Studio(model)
    takes = [studio.take(number, FRAMES) for number in range(CLIPS)]
    rows = []
    for way in ways(studio):
        rows += measure(studio, way, takes)
    return [*rows, best(rows)]


def ways(studio: Studio) -> list[Way]:
    """Every schedule with every fusing, each with the overlap that costs nearest to the static
    schedule's, and the published loops.
    """
    defaults = studio.variant.sampling
    target = calls(studio, Way(schedule="static", overlap=defaults.overlap))
    ways = []
    for schedule in SCHEDULES:
        overlap = equal_cost_overlap(studio, schedule, target)
        ways += [Way(schedule=schedule, fusing=name, overlap=overlap) for name in WEIGHTS]
    ways += [
        Way(schedule=name, overlap=defaults.overlap) for name in ("controlnext-v2", "mimicmotion")
    ]
    return ways


def equal_cost_overlap(studio: Studio, schedule: Schedule, target: int) -> int:
    """The overlap with which a schedule's number of window calls is nearest to the target."""
    costs = {}
    for overlap in range(studio.variant.defaults.window):
        try:
            costs[overlap] = calls(studio, Way(schedule=schedule, overlap=overlap))
        except TemporalError:  # an overlap that this schedule cannot have
            continue
    return min(costs, key=lambda overlap: (abs(costs[overlap] - target), -overlap))


def calls(studio: Studio, way: Way) -> int:
    """Windows that go through the network for one clip."""
    return studio.plan(way, FRAMES).calls


def measure(studio: Studio, way: Way, takes: list[Take]) -> list[Row]:
    """Rows of one way: jump at the borders, jump of the error at the worst place, likeness."""
    plan = studio.plan(way, FRAMES)
    borders = step_borders(plan, plan.steps - 1)
    seams, truths, worst, likeness = [], [], [], []
    for take in takes:
        frames = studio.make(take, way).frames
        seams.append(seam_score(frames, borders))
        truths.append(seam_score(take.frames, borders))
        error = jumps(frames.astype(np.float32) - take.frames)
        worst.append(float(error.max() / np.median(error)))
        likeness.append(psnr(frames, take.frames))
    name = way.schedule if way.schedule == plan.weights else f"{plan.schedule}, {plan.weights}"
    note = f"overlap {plan.overlap}, {plan.calls} window calls"
    mean = statistics.fmean
    return [
        Row(name=f"{name}: border jump", value=mean(seams), baseline=mean(truths), note=note),
        Row(name=f"{name}: worst error jump", value=mean(worst), note="over the median one"),
        Row(name=f"{name}: likeness", value=mean(likeness), unit="dB", note="PSNR to the truth"),
    ]


def jumps(clip_FHWC: NDArray[np.float32]) -> NDArray[np.float32]:
    """(F-1) mean absolute difference of neighbouring frames."""
    return np.abs(np.diff(clip_FHWC, axis=0)).mean((1, 2, 3))


def best(rows: list[Row]) -> Row:
    """The schedule whose borders are nearest to the truth's."""
    seams = [row for row in rows if row.name.endswith(": border jump")]
    row = min(seams, key=lambda row: abs((row.ratio or 0) - 1))
    return dataclasses.replace(row, name=f"nearest to the truth: {row.name.partition(':')[0]}")
