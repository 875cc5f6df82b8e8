"""Seams at window borders of the bundled model, for each schedule and fusing, at equal cost.

A seam is a jump between two frames where the set of windows that made them changes. The jump of
the picture there, over the jump elsewhere, would also see the person's own motion; so the same
quotient of the true frames stands beside it as the baseline: a ratio of 1 is no seam. What the
jumps of the error (picture minus truth) are at the worst place is told for each, since a schedule
that moves its borders has no fixed ones.
"""

from __future__ import annotations

import dataclasses
import statistics

import torch
from torch import Tensor

from scripts.benchmarks._clips import Case, Studio, Way, psnr
from scripts.benchmarks.rows import Row
from temporal.errors import TemporalError
from temporal.slot_weights import WEIGHTS
from temporal.windows import SCHEDULES, WindowPlan

FRAMES = 48
CLIPS = 3


def run(model: str = "tiny") -> list[Row]:
    studio = Studio(model)
    cases = [studio.case(number, FRAMES) for number in range(CLIPS)]
    rows = []
    for way in ways(studio):
        rows += measure(studio, way, cases)
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
        ways += [Way(schedule=schedule, weights=name, overlap=overlap) for name in WEIGHTS]
    ways += [
        Way(schedule=name, overlap=defaults.overlap) for name in ("controlnext-v2", "mimicmotion")
    ]
    return ways


def equal_cost_overlap(studio: Studio, schedule: str, target: int) -> int:
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
    return studio.plan(way, FRAMES, studio.variant.defaults.steps).calls


def measure(studio: Studio, way: Way, cases: list[Case]) -> list[Row]:
    """Rows of one way: jump at the borders, jump of the error at the worst place, likeness."""
    plan = studio.plan(way, FRAMES, studio.variant.defaults.steps)
    at = borders(plan)
    seams, truths, worst, likeness = [], [], [], []
    for case in cases:
        frames = studio.decode(studio.sample(case.conditioning, case.drawn, way))
        seams.append(quotient(jumps(frames), at))
        truths.append(quotient(jumps(case.truth), at))
        error = jumps(frames - case.truth)
        worst.append(float(error.max() / error.median()))
        likeness.append(psnr(frames, case.truth))
    name = way.schedule if way.schedule == plan.weights else f"{plan.schedule}, {plan.weights}"
    note = f"overlap {plan.overlap}, {plan.calls} window calls"
    mean = statistics.fmean
    return [
        Row(name=f"{name}: border jump", value=mean(seams), baseline=mean(truths), note=note),
        Row(name=f"{name}: worst error jump", value=mean(worst), note="over the median one"),
        Row(name=f"{name}: likeness", value=mean(likeness), unit="dB", note="PSNR to the truth"),
    ]


def borders(plan: WindowPlan) -> list[int]:
    """Frames f after which the windows that contribute change, at the last step.

    The last step decides the fine detail; with a fixed grid all steps are alike.
    """
    makers = [
        frozenset(k for k, w in enumerate(plan.at(plan.steps - 1)) if frame in w.contributes)
        for frame in range(plan.frames)
    ]
    return [f for f in range(plan.frames - 1) if makers[f] != makers[f + 1]]


def jumps(clip_FCHW: Tensor) -> Tensor:
    """(F-1) mean absolute difference of neighbouring frames."""
    return (clip_FCHW[1:] - clip_FCHW[:-1]).abs().flatten(1).mean(1)


def quotient(jump: Tensor, at: list[int]) -> float:
    """Mean jump at some places over the mean jump elsewhere."""
    inside = torch.zeros(len(jump), dtype=torch.bool)
    inside[at] = True
    return float(jump[inside].mean() / jump[~inside].mean())


def best(rows: list[Row]) -> Row:
    """The schedule whose borders are nearest to the truth's."""
    seams = [row for row in rows if row.name.endswith(": border jump")]
    row = min(seams, key=lambda row: abs((row.ratio or 0) - 1))
    return dataclasses.replace(row, name=f"nearest to the truth: {row.name.partition(':')[0]}")
