"""Interleaved medians in two clocks: the wall's, and the processor's, which a busy machine moves
less."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """Medians over rounds."""

    wall: float
    cpu: float
    """Processor time of this process, all threads."""


def both_clocks(
    calls: Mapping[str, Callable[[], object]], *, repeats: int = 5, warmup: int = 1
) -> dict[str, Seconds]:
    """Median seconds of each call, run in turn: a, b, c, a, b, c, ... after `warmup` rounds."""
    wall: dict[str, list[float]] = {name: [] for name in calls}
    cpu: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(warmup + repeats):
        for name, call in calls.items():
            began, worked = time.perf_counter(), time.process_time()
            call()
            if round_ >= warmup:
                cpu[name].append(time.process_time() - worked)
                wall[name].append(time.perf_counter() - began)
    return {
        name: Seconds(wall=statistics.median(wall[name]), cpu=statistics.median(cpu[name]))
        for name in calls
    }
