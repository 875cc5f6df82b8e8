"""How near one picture is to another. Pictures are uint8 RGB (...,h,w,3)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

# A pixel belongs to the figure where a channel differs this much from the empty background.
FIGURE_LEVELS = 30


def psnr(picture: Picture, truth: Picture, where: NDArray[np.bool_] | None = None) -> float:
    """Peak signal-to-noise ratio in dB of two pictures, or of the pixels (h,w) in `where`.

    Equal pictures give infinity; an empty `where` gives nan.
    """
    error = (picture.astype(np.float64) - truth.astype(np.float64)) ** 2
    values = error if where is None else error[where]
    if values.size == 0:
        return float("nan")
    mean = float(values.mean())
    return float("inf") if mean == 0 else 10 * float(np.log10(255**2 / mean))


def ssim(picture: Picture, truth: Picture) -> float:
    """Structural similarity (Wang et al. 2004) of two pictures (h,w,3), the mean over pixels and
    channels: Gaussian window of 11 pixels with deviation 1.5, whole windows only."""
    first, second = picture.astype(np.float64), truth.astype(np.float64)
    kernel = cv2.getGaussianKernel(11, 1.5)

    def blur(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.sepFilter2D(values, -1, kernel, kernel)[5:-5, 5:-5])

    mean_1, mean_2 = blur(first), blur(second)
    variance_1 = blur(first * first) - mean_1**2
    variance_2 = blur(second * second) - mean_2**2
    covariance = blur(first * second) - mean_1 * mean_2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    likeness = (2 * mean_1 * mean_2 + c1) * (2 * covariance + c2)
    spread = (mean_1**2 + mean_2**2 + c1) * (variance_1 + variance_2 + c2)
    return float((likeness / spread).mean())


def figure_mask(picture: Picture, background: Picture) -> NDArray[np.bool_]:
    """Where a picture differs from its empty background: (h,w)."""
    difference = np.abs(picture.astype(np.int16) - background.astype(np.int16))
    return np.asarray(difference.max(-1) > FIGURE_LEVELS)


def mask_iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks; 1 when both are empty."""
    union = int((first | second).sum())
    return float((first & second).sum() / union) if union else 1.0


def seam_score(frames: Picture, borders: list[int]) -> float:
    """Mean frame difference into the frames `borders` over that into all others.

    1 = window borders are no rougher than the rest. Raises ValueError when either kind is missing.
    """
    steps = np.abs(frames[1:].astype(np.int16) - frames[:-1].astype(np.int16)).mean((1, 2, 3))
    at_border = np.isin(np.arange(1, len(frames)), borders)
    if at_border.all() or not at_border.any():
        raise ValueError("a seam score needs frames at window borders and elsewhere")
    return float(steps[at_border].mean() / steps[~at_border].mean())
