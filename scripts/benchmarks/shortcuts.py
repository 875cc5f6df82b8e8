"""Savings and costs of shortcuts on the bundled model: few steps, solvers, guidance interval.

Every way makes the same clips in turn with what it is compared with, and they are held against the
truth. `kept` measures features and control that are kept from step to step.
"""

from __future__ import annotations

import statistics
from dataclasses import replace

from animate.request.request import Solver
from animate.request.values import Guidance, NoiseInterval
from scripts.benchmarks._clips import Made, Studio, Way, psnr
from scripts.benchmarks.rows import Row
from scripts.tiny.characters import Take

FRAMES = 8
CLIPS = 2
_GUIDED = Guidance(1.5, 1.5)
_INTERVAL = NoiseInterval(low=0.5, high=20.0)


def run(model: str = "tiny") -> list[Row]:
    studio = Studio(model)
    takes = [studio.take(number, FRAMES) for number in range(CLIPS)]
    rows = []
    for title, baseline, ways in comparisons(studio.variant.defaults.steps):
        rows += compare(studio, takes, title, baseline, ways)
    return rows


def comparisons(steps: int) -> list[tuple[str, Way, dict[str, Way]]]:
    """Name of the baseline, the baseline, and what is compared with it.

    `steps` are the model's own; a schedule, a solver or an interval needs several to show.
    """
    ten, guided = Way(steps=10), Way(steps=10, guidance=_GUIDED)
    solvers: tuple[Solver, ...] = ("heun", "dpmpp-2m", "unipc")
    return [
        (
            _steps(steps),
            Way(),
            {_steps(count): Way(steps=count) for count in (1, 2, 8, 12) if count != steps},
        ),
        (
            "10 steps",
            ten,
            {
                "10 steps, Align-Your-Steps": replace(ten, levels="align-your-steps"),
                **{f"10 steps, {name}": replace(ten, solver=name) for name in solvers},
                **{f"{n} steps, heun": Way(steps=n, solver="heun") for n in (3, 5)},
            },
        ),
        (
            f"10 steps, guidance {_GUIDED}",
            guided,
            {
                f"the same for sigma {_INTERVAL.low:g} to {_INTERVAL.high:g}": replace(
                    guided, guidance_interval=_INTERVAL
                )
            },
        ),
    ]


def _steps(count: int) -> str:
    return f"{count} step{'s' if count > 1 else ''}"


def compare(
    studio: Studio, takes: list[Take], title: str, baseline: Way, ways: dict[str, Way]
) -> list[Row]:
    """Two rows for each way: time and likeness, against the baseline's."""
    clips: dict[str, list[Made]] = {}
    for take in takes:
        for name, way in {title: baseline, **ways}.items():
            clips.setdefault(name, []).append(studio.make(take, way))
    rows = []
    for name in ways:
        rows += rows_of(name, clips[name], title, clips[title], takes)
    return rows


def rows_of(
    name: str, clips: list[Made], title: str, baseline: list[Made], takes: list[Take]
) -> list[Row]:
    """Rows of a way's time, as the median of the clips' ratios, and of its likeness, with the
    baseline's."""
    times = list(zip((m.seconds for m in clips), (m.seconds for m in baseline), strict=True))
    mine, theirs = likeness(clips, takes), likeness(baseline, takes)
    changes = [a - b for a, b in zip(mine, theirs, strict=True)]
    note = f"{len(takes)} clips of {len(takes[0].frames)} frames; baseline {title}"
    return [
        Row(
            name=f"{name}: processor time",
            value=statistics.median(a for a, _ in times),
            unit="s",
            baseline=statistics.median(b for _, b in times),
            ratio=statistics.median(a / b for a, b in times),
            note=note,
        ),
        Row(
            name=f"{name}: likeness",
            value=statistics.fmean(mine),
            unit="dB",
            baseline=statistics.fmean(theirs),
            note=f"{statistics.fmean(changes):+.3f} dB, of single clips {min(changes):+.3f} to "
            f"{max(changes):+.3f}",
        ),
    ]


def likeness(clips: list[Made], takes: list[Take]) -> list[float]:
    """PSNR of each clip to the truth."""
    return [psnr(clip.frames, take.frames) for clip, take in zip(clips, takes, strict=True)]
