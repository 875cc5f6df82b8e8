"""Weights of a window's slots where windows overlap.

Weights are relative: they are divided by their sum over the windows that share a frame, so a
frame that one window alone covers takes that window's prediction unchanged.
"""

from __future__ import annotations

from typing import get_args

from temporal.errors import TemporalError
from temporal.kinds import WeightName

WEIGHTS: tuple[WeightName, ...] = get_args(WeightName)

RELATIVE_FLOOR = 0.01  # of the centre's weight: the outermost slots would otherwise have none


def slot_weights(name: WeightName, size: int, *, left: int, right: int) -> tuple[float, ...]:
    """Positive weights of the `size` slots of a window.

    left, right: slots shared with the window before and after (0 at the ends of the clip)

    flat: all alike
    triangular: min(u, 2 - u), u = (2 k + 1) / size (MimicMotion's)
    overlap-linear: 1, and a linear cross-fade over just the shared slots
    relative: falls linearly with the distance from the window's centre, to almost nothing at
        its outermost slots
    """
    if name == "flat":
        return (1.0,) * size
    if name == "triangular":
        return triangular(size)
    if name == "overlap-linear":
        return tuple(
            min(1.0, (slot + 1) / (left + 1), (size - slot) / (right + 1)) for slot in range(size)
        )
    if name == "relative":
        half = max((size - 1) / 2, 0.5)
        return tuple(
            max(RELATIVE_FLOOR, 1 - abs(slot - (size - 1) / 2) / half) for slot in range(size)
        )
    raise TemporalError(f"no fusing weights {name!r}; there are {', '.join(WEIGHTS)}")


def triangular(size: int) -> tuple[float, ...]:
    """min(u, 2 - u) with u = (2 k + 1) / size for slot k: highest in the middle, never 0."""
    return tuple(min((2 * k + 1) / size, 2 - (2 * k + 1) / size) for k in range(size))
