"""Measures of a clip by itself, frame after frame. Pictures are uint8 RGB (h,w,3)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from animate.media.info import Image

Flow = NDArray[np.float32]
"""(h,w,2): pixels right and down to where a pixel of the first picture is in the second."""

_BLACK_LEVEL = 0.1 * 255
_BLACK_SHARE = 0.98
"""A frame is black where this share of its pixels is below the level (ffmpeg's blackdetect)."""
REPEATED = 0.001
"""Mean absolute difference in [0,1] up to which a frame repeats the one before (ffmpeg's
freezedetect, -60 dB)."""
_OCCLUSION = (0.01, 0.5)
"""Forward and backward flow may disagree by 0.01 of their squared lengths and 0.5 pixels squared
(Sundaram et al. 2010)."""


def grey(picture: Image) -> NDArray[np.uint8]:
    """Luma (h,w) of ITU-R 601."""
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY))


def difference(picture: Image, before: Image) -> float:
    """Mean absolute difference in levels of 255."""
    return float(cv2.absdiff(picture, before).mean(dtype=np.float64))


def sharpness(picture: Image) -> float:
    """Gradient energy: mean squared length of the Sobel gradient of the luma, levels squared."""
    luma = grey(picture)
    across = cv2.Sobel(luma, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(luma, cv2.CV_32F, 0, 1, scale=1 / 8)
    return float((across**2 + down**2).mean(dtype=np.float64))


def mean_lab(picture: Image) -> NDArray[np.float64]:
    """(3,) mean CIE L*, a*, b*."""
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.asarray(lab.mean((0, 1), dtype=np.float64))


def is_black(picture: Image) -> bool:
    """True where 98 % of the pixels have less than a tenth of the full luma."""
    return float((grey(picture) < _BLACK_LEVEL).mean()) >= _BLACK_SHARE


def longest_run(flags: Sequence[bool]) -> int:
    """Length of the longest stretch of true values."""
    longest = length = 0
    for flag in flags:
        length = length + 1 if flag else 0
        longest = max(longest, length)
    return longest


def slope(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Change a step of values (F,...) by least squares; 0 for fewer than two."""
    if len(values) < 2:
        return np.zeros(values.shape[1:])
    steps = np.arange(len(values)) - (len(values) - 1) / 2
    return np.asarray(np.tensordot(steps, values - values.mean(0), 1) / (steps**2).sum())


class DenseFlow:
    """Dense optical flow (DIS, Kroeger et al. 2016)."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __call__(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Flow:
        """From one grey picture (h,w) to another."""
        empty = np.zeros((*first.shape, 2), np.float32)
        return np.asarray(self._flow.calc(first, second, empty), np.float32)

    def warping_error(self, before: Image, picture: Image) -> float | None:
        """Mean squared difference in [0,1] between a frame and the next one brought back to it
        (Lai et al. 2018), over pixels that are seen in both; None where none is.

        Pixels whose forward and backward flow disagree, or whose motion leaves the picture, do
        not count.
        """
        if min(picture.shape[:2]) < _SMALLEST_FLOW:
            return None
        first, second = grey(before), grey(picture)
        forward, backward = self(first, second), self(second, first)
        height, width = first.shape
        across, down = np.meshgrid(np.arange(width), np.arange(height))
        map_x = (across + forward[..., 0]).astype(np.float32)
        map_y = (down + forward[..., 1]).astype(np.float32)
        back = cv2.remap(backward, map_x, map_y, cv2.INTER_LINEAR)
        warped = cv2.remap(picture.astype(np.float32), map_x, map_y, cv2.INTER_LINEAR)
        lengths = (forward**2).sum(-1) + (back**2).sum(-1)
        share, pixels = _OCCLUSION
        seen = ((forward + back) ** 2).sum(-1) <= share * lengths + pixels
        seen &= (map_x >= 0) & (map_x <= width - 1) & (map_y >= 0) & (map_y <= height - 1)
        if not seen.any():
            return None
        error = ((warped - before) / 255) ** 2
        return float(error[seen].mean(dtype=np.float64))


_SMALLEST_FLOW = 16
"""Pixels of the short side below which the flow is not defined."""
