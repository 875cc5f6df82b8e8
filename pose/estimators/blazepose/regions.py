"""Square, turned regions of a frame: cut one out for a network, map its points back.

A network's own coordinates are (u, v) in [0,1] of its input; frame coordinates are pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Border = Literal["zero", "replicate"]

_BORDERS = {"zero": cv2.BORDER_CONSTANT, "replicate": cv2.BORDER_REPLICATE}


@dataclass(frozen=True, kw_only=True)
class Region:
    """A square in a frame, in pixels, turned by `angle` radians (clockwise on the screen)."""

    x: float
    """Centre."""
    y: float
    """Centre."""
    side: float
    """Length of a side."""
    angle: float = 0.0
    """The direction of the region's own x axis, from the frame's x axis towards its y axis."""

    def to_frame(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N,2) points in [0,1] of the region as pixels of the frame."""
        cos, sin = math.cos(self.angle) * self.side, math.sin(self.angle) * self.side
        u, v = points[:, 0] - 0.5, points[:, 1] - 0.5
        mapped = np.stack([self.x + u * cos - v * sin, self.y + u * sin + v * cos], axis=1)
        return mapped.astype(np.float32)

    def grown(self, factor: float, *, down: float = 0.0) -> Region:
        """The same square `factor` times as large, first moved `down` its own sides downwards."""
        return Region(
            x=self.x - self.side * down * math.sin(self.angle),
            y=self.y + self.side * down * math.cos(self.angle),
            side=self.side * factor,
            angle=self.angle,
        )


def crop(
    frame: NDArray[np.uint8],
    region: Region,
    size: int,
    *,
    signed: bool = False,
    border: Border = "replicate",
) -> NDArray[np.float32]:
    """`region` as a network's input (1,size,size,3), in [0,1], or in [-1,1] where `signed`.

    The landmark networks were trained on replicated borders, the detectors on black ones; with
    black borders the legs of a person cut off by the frame come out tens of pixels away.
    """
    corners = np.array([[0, 0], [1, 0], [0, 1]], np.float32)
    matrix = cv2.getAffineTransform(region.to_frame(corners), corners * size)
    picture = cv2.warpAffine(
        frame, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=_BORDERS[border]
    )
    values = picture.astype(np.float32) / np.float32(255)
    return (values * 2 - 1 if signed else values)[None]


def between(start: NDArray[np.float32], end: NDArray[np.float32], *, up: bool = True) -> Region:
    """The square around `start` that `end` lies on the edge of, turned so that `end` is upwards.

    With `up` false `end` lies at the bottom of the region.
    """
    dx, dy = float(end[0] - start[0]), float(end[1] - start[1])
    angle = math.atan2(dy, dx) + (math.pi / 2 if up else -math.pi / 2)
    return Region(
        x=float(start[0]), y=float(start[1]), side=2 * math.hypot(dx, dy), angle=wrapped(angle)
    )


def level(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    """The angle that makes the line from `left` to `right` (on the screen) horizontal."""
    return wrapped(math.atan2(float(right[1] - left[1]), float(right[0] - left[0])))


def wrapped(angle: float) -> float:
    """`angle` in [-pi, pi)."""
    return angle - 2 * math.pi * math.floor((angle + math.pi) / (2 * math.pi))
