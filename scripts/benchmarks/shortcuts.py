"""Savings and costs of shortcuts on the bundled model: few steps, guidance interval, kept features.

Every way is timed in turn with what it is compared with, and its clips are held against the truth.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace

from animate.request.request import Solver
from animate.request.values import Guidance, NoiseInterval
from scripts.benchmarks._clips import Case, Studio, Way, psnr
from scripts.benchmarks.rows import Row, interleaved

FRAMES = 24
CLIPS = 4
_GUIDED = Guidance(1.5, 1.5)
_INTERVAL = NoiseInterval(low=0.5, high=20.0)


def run(model: str = "tiny") -> list[Row]:
    studio = Studio(model)
    cases = [studio.case(number, FRAMES) for number in range(CLIPS)]
    rows = []
    for title, baseline, variants in comparisons(studio.variant.defaults.steps):
        rows += compare(studio, cases, title, baseline, variants)
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
                **{f"10 steps, features kept {n}": replace(ten, every=n) for n in (2, 3, 5)},
                **{
                    f"10 steps, control kept {n}": replace(ten, control_every=n)
                    for n in (2, 3, 5, 10)
                },
            },
        ),
        (
            f"10 steps, guidance {_GUIDED}",
            guided,
            {
                f"the same for sigma {_INTERVAL.low:g} to {_INTERVAL.high:g}": replace(
                    guided, interval=_INTERVAL
                )
            },
        ),
    ]


def _steps(count: int) -> str:
    return f"{count} step{'s' if count > 1 else ''}"


def compare(
    studio: Studio, cases: list[Case], title: str, baseline: Way, variants: dict[str, Way]
) -> list[Row]:
    """Two rows for each way: time and likeness, against the baseline's."""
    ways = {title: baseline, **variants}
    likeness = {name: statistics.fmean(quality(studio, way, cases)) for name, way in ways.items()}
    seconds = interleaved(
        {name: timed(studio, way, cases[0]) for name, way in ways.items()}, repeats=3
    )
    rows = []
    for name in variants:
        cost = likeness[name] - likeness[title]
        rows += [
            Row(
                name=f"{name}: time",
                value=seconds[name],
                unit="s",
                baseline=seconds[title],
                note=f"sampling {FRAMES} frames; baseline {title}",
            ),
            Row(
                name=f"{name}: likeness",
                value=likeness[name],
                unit="dB",
                baseline=likeness[title],
                note=f"PSNR to the truth, {cost:+.2f} dB",
            ),
        ]
    return rows


def quality(studio: Studio, way: Way, cases: list[Case]) -> list[float]:
    """PSNR of each case."""
    return [
        psnr(studio.decode(studio.sample(case.conditioning, case.drawn, way)), case.truth)
        for case in cases
    ]


def timed(studio: Studio, way: Way, case: Case) -> Callable[[], object]:
    """A call that samples one clip."""
    return lambda: studio.sample(case.conditioning, case.drawn, way)
