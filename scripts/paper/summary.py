"""From the records of training runs to figures: means, spreads over seeds, who ends lower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scripts.paper.figures import Convergence, Run


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One way of control over all its seeds."""

    name: str
    seeds: tuple[int, ...]
    steps: tuple[int, ...]
    losses: NDArray[np.float64]
    """(seeds, steps): validation loss, the mean over the noise levels."""
    swapped: NDArray[np.float64]
    """(seeds,): the loss at the end when every character is given another one's poses."""
    new_parameters: int
    learned_parameters: int
    seconds: float
    """Processor time of a run, mean."""

    @property
    def mean(self) -> NDArray[np.float64]:
        """(steps,)."""
        return np.asarray(self.losses.mean(0))

    @property
    def spread(self) -> NDArray[np.float64]:
        """(steps,) standard deviation over seeds (unbiased; 0 for one seed)."""
        if len(self.losses) < 2:
            return np.zeros(self.losses.shape[1])
        return np.asarray(self.losses.std(0, ddof=1))

    def of_seeds(self, seeds: Sequence[int]) -> Curve:
        """The same way over some of its seeds."""
        rows = [self.seeds.index(seed) for seed in seeds]
        return replace(
            self, seeds=tuple(seeds), losses=self.losses[rows], swapped=self.swapped[rows]
        )

    @property
    def follows(self) -> float:
        """Rise of the loss with somebody else's poses: 0 means that poses are ignored."""
        return float((self.swapped - self.losses[:, -1]).mean())


def curves(convergence: Convergence) -> dict[str, Curve]:
    """Curves by name, in the order of the records."""
    grouped: dict[str, list[Run]] = {}
    for run in convergence.runs:
        grouped.setdefault(run.name, []).append(run)
    return {
        name: Curve(
            name=name,
            seeds=tuple(run.seed for run in runs),
            steps=runs[0].steps,
            losses=np.array([np.mean(run.losses, 1) for run in runs]),
            swapped=np.array([np.mean(run.with_others_poses) for run in runs]),
            new_parameters=runs[0].new_parameters,
            learned_parameters=runs[0].learned_parameters,
            seconds=float(np.mean([run.seconds for run in runs])),
        )
        for name, runs in grouped.items()
    }


def pair_of(measured: dict[str, Curve], first: str, second: str) -> Comparison | None:
    """The comparison of two ways by name; None where no seed was measured for both."""
    if first not in measured or second not in measured:
        return None
    if not set(measured[first].seeds) & set(measured[second].seeds):
        return None
    return compare(measured[first], measured[second])


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One way against another, seed by seed: both saw the same clips and noise."""

    first: str
    second: str
    difference: float
    """Mean of first minus second at the end; below 0 the first is better."""
    spread: float
    """Standard deviation of that difference over seeds."""
    wins: int
    """Seeds in which the first ends lower."""
    seeds: int
    ahead_at: tuple[int, ...]
    """Measured steps at which the first's mean is lower."""
    reached: float | None
    """Step at which the first's mean reaches where the second ends; None: never."""

    @property
    def clear(self) -> bool:
        """At least two seeds, all agree, and the mean difference is more than its spread."""
        agreed = self.seeds > 1 and self.wins in (0, self.seeds)
        return agreed and abs(self.difference) > self.spread

    @property
    def gap(self) -> str:
        """The difference, with its spread where there is one."""
        return f"{self.difference:+.4f}" + (f" ± {self.spread:.4f}" if self.seeds > 1 else "")

    @property
    def verdict(self) -> str:
        """In words."""
        if self.seeds < 2:
            return "not judged: one seed"
        if not self.clear:
            return "no clear difference"
        return f"{self.first if self.difference < 0 else self.second} ends lower"


def compare(first: Curve, second: Curve) -> Comparison:
    """The first against the second, on the seeds that both have (at least one)."""
    common = sorted(set(first.seeds) & set(second.seeds))
    first, second = first.of_seeds(common), second.of_seeds(common)
    gaps = first.losses[:, -1] - second.losses[:, -1]
    steps = zip(first.steps, first.mean < second.mean, strict=True)
    return Comparison(
        first=first.name,
        second=second.name,
        difference=float(gaps.mean()),
        spread=float(gaps.std(ddof=1)) if len(gaps) > 1 else 0.0,
        wins=int((gaps < 0).sum()),
        seeds=len(gaps),
        ahead_at=tuple(step for step, ahead in steps if ahead),
        reached=_reached(first, float(second.mean[-1])),
    )


def _reached(curve: Curve, level: float) -> float | None:
    """The step at which a mean curve first falls to a level, between its measured steps."""
    for index, value in enumerate(curve.mean):
        if value <= level:
            if index == 0:
                return float(curve.steps[0])
            previous, step = curve.mean[index - 1], curve.steps[index - 1]
            share = (previous - level) / (previous - value)
            return round(float(step + share * (curve.steps[index] - step)), 1)
    return None
