"""Rows that a benchmark returns, and the one way to time here: interleaved, medians, ratios.

A machine's speed drifts while a benchmark runs (other processes, clocks), so a time is only
compared with a baseline taken in the same run, in turn with it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured figure.

    Attributes:
        name: what was measured.
        value: the figure, in `unit`.
        unit: unit of `value` and `baseline`, e.g. "s", "GiB", "dB", "" for a plain number.
        baseline: the same quantity for the thing compared with, from the same run; None if none.
        ratio: value / baseline where a baseline is given, or the median of such ratios.
        note: conditions or meaning, one short sentence.
    """

    name: str
    value: float
    unit: str = ""
    baseline: float | None = None
    ratio: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.ratio is None and self.baseline:
            object.__setattr__(self, "ratio", self.value / self.baseline)


def interleaved(
    calls: Mapping[str, Callable[[], object]], *, repeats: int = 5, warmup: int = 1
) -> dict[str, float]:
    """Median seconds of each call by the clock, run in turn: a, b, c, a, b, c, ...

    Args:
        calls: what to time, by name. A call on an accelerator must wait for its own end.
        repeats: timed rounds.
        warmup: rounds before these whose times are thrown away.

    Returns:
        Seconds by name.
    """
    both = both_clocks(calls, repeats=repeats, warmup=warmup)
    return {name: seconds.wall for name, seconds in both.items()}


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """Medians over rounds."""

    wall: float
    cpu: float
    """Processor time of this process, all threads: a busy machine moves it less."""
    rounds: tuple[float, ...]
    """Seconds by the clock of each round."""

    def against(self, baseline: Seconds, name: str, note: str) -> Row:
        """A row whose ratio is the median of the rounds' own, with the lowest and highest of these.

        What was timed side by side had the same machine; medians over all rounds need not have.
        """
        ratios = sorted(
            mine / reference for mine, reference in zip(self.rounds, baseline.rounds, strict=True)
        )
        spread = f"{len(ratios)} rounds, {ratios[0]:.2f} to {ratios[-1]:.2f}"
        return Row(
            name=name,
            value=self.wall,
            unit="s",
            baseline=baseline.wall,
            ratio=statistics.median(ratios),
            note=f"{spread}; {note}",
        )


def both_clocks(
    calls: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 5,
    warmup: int = 1,
    within: Mapping[str, Callable[[], AbstractContextManager[object]]] | None = None,
) -> dict[str, Seconds]:
    """Median seconds of each call, run in turn: a, b, c, a, b, c, ... after `warmup` rounds.

    `within`: what is entered before a call and left after it, which is not timed.
    """
    wall: dict[str, list[float]] = {name: [] for name in calls}
    cpu: dict[str, list[float]] = {name: [] for name in calls}
    around = within or {}
    for round_ in range(warmup + repeats):
        for name, call in calls.items():
            with around.get(name, nullcontext)():
                began, worked = time.perf_counter(), time.process_time()
                call()
                took, took_work = time.perf_counter() - began, time.process_time() - worked
            if round_ >= warmup:
                cpu[name].append(took_work)
                wall[name].append(took)
    return {
        name: Seconds(
            wall=statistics.median(wall[name]),
            cpu=statistics.median(cpu[name]),
            rounds=tuple(wall[name]),
        )
        for name in calls
    }
