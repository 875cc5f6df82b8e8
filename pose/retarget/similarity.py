"""One scale and one shift: the model of every retargeting mode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pose.arrays import Array


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """`scale * p + shift`, from driving pixels to reference pixels; circles stay circles."""

    scale: float
    """Reference pixels per driving pixel, above 0 for every sensible pair."""
    shift: tuple[float, float]
    """x, y in reference pixels."""

    def __call__(self, points: Array) -> Array:
        """Move points of any shape (..., 2)."""
        return points * self.scale + np.asarray(self.shift)
