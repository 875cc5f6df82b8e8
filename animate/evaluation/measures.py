"""Measures of how near one picture is to another. Pictures are uint8 RGB (...,h,w,3)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

# A pixel belongs to the figure where a channel differs this much from the empty background.
FIGURE_LEVELS = 30

MS_SSIM_SHORTEST = 161
"""Pixels of the short side from which the last of five scales holds a whole window."""
SHORTEST = {"ssim": 11, "ms_ssim": MS_SSIM_SHORTEST}
"""Pixels that the short side of a picture must have, by measure."""
_MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_GREY_WINDOW = 7


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
    luminance, contrast = _similarity_maps(picture.astype(np.float64), truth.astype(np.float64))
    return float((luminance * contrast).mean())


def ssim_grey(picture: Picture, truth: Picture) -> float:
    """Structural similarity of the grey pictures (ITU-R 601 luma, whole levels): windows of 7x7
    equal weights, sample covariance, windows at the border left out. What scikit-image gives for
    two grey uint8 pictures by default."""
    first, second = (
        cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY).astype(np.float64)
        for image in (picture, truth)
    )
    if min(first.shape) < _GREY_WINDOW:
        raise ValueError(f"ssim_grey needs pictures of {_GREY_WINDOW} pixels or more")

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        size, cut = (_GREY_WINDOW, _GREY_WINDOW), _GREY_WINDOW // 2
        return np.asarray(cv2.boxFilter(values, cv2.CV_64F, size)[cut:-cut, cut:-cut])

    sample = _GREY_WINDOW**2 / (_GREY_WINDOW**2 - 1)
    mean_1, mean_2 = mean(first), mean(second)
    variance_1 = sample * (mean(first * first) - mean_1**2)
    variance_2 = sample * (mean(second * second) - mean_2**2)
    covariance = sample * (mean(first * second) - mean_1 * mean_2)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    likeness = (2 * mean_1 * mean_2 + c1) * (2 * covariance + c2)
    spread = (mean_1**2 + mean_2**2 + c1) * (variance_1 + variance_2 + c2)
    return float((likeness / spread).mean())


def ms_ssim(picture: Picture, truth: Picture) -> float:
    """Multi-scale structural similarity (Wang et al. 2003), the mean over channels.

    Five scales, each the 2x2 mean of the one before; contrast and structure of all, luminance of
    the last. Raises ValueError for pictures whose short side is below 161 pixels.
    """
    if min(picture.shape[:2]) < MS_SSIM_SHORTEST:
        raise ValueError(f"ms_ssim needs pictures of {MS_SSIM_SHORTEST} pixels or more")
    first, second = picture.astype(np.float64), truth.astype(np.float64)
    product = np.ones(3)
    for scale, weight in enumerate(_MS_WEIGHTS):
        luminance, contrast = _similarity_maps(first, second)
        last = scale == len(_MS_WEIGHTS) - 1
        value = (luminance * contrast if last else contrast).mean((0, 1))
        product *= np.maximum(value, 0) ** weight
        if not last:
            first, second = _halved(first), _halved(second)
    return float(product.mean())


def l1(picture: Picture, truth: Picture) -> float:
    """Mean absolute difference in [0,1]."""
    return float(np.abs(picture.astype(np.float64) - truth.astype(np.float64)).mean() / 255)


def psnr_uint8(picture: Picture, truth: Picture) -> float:
    """PSNR as computed in 8-bit arithmetic, where difference and square overflow: a published
    fault that raises the figure. 100 for equal pictures."""
    error = (picture - truth) ** 2
    mean = float(error.mean())
    return 100.0 if mean == 0 else 10 * float(np.log10(255**2 / mean))


def _similarity_maps(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Luminance term and contrast-structure term (h-10,w-10,3) under the Gaussian window."""
    mean_1, mean_2 = _gaussian(first), _gaussian(second)
    variance_1 = _gaussian(first * first) - mean_1**2
    variance_2 = _gaussian(second * second) - mean_2**2
    covariance = _gaussian(first * second) - mean_1 * mean_2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_1 * mean_2 + c1) / (mean_1**2 + mean_2**2 + c1)
    return luminance, (2 * covariance + c2) / (variance_1 + variance_2 + c2)


def _gaussian(values: NDArray[np.float64]) -> NDArray[np.float64]:
    kernel = cv2.getGaussianKernel(11, 1.5)
    return np.asarray(cv2.sepFilter2D(values, -1, kernel, kernel)[5:-5, 5:-5])


def _halved(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """2x2 means (h,w,3); an odd side gets a row or column of zeros in front, as published."""
    padded = np.pad(values, [(n % 2, 0) for n in values.shape[:2]] + [(0, 0)])
    height, width = padded.shape[0] // 2 * 2, padded.shape[1] // 2 * 2
    padded = padded[:height, :width]
    return np.asarray(padded.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3)))


def figure_mask(picture: Picture, background: Picture) -> NDArray[np.bool_]:
    """Pixels (h,w) at which a picture differs from its empty background."""
    difference = np.abs(picture.astype(np.int16) - background.astype(np.int16))
    return np.asarray(difference.max(-1) > FIGURE_LEVELS)


def mask_iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks; 1 when both are empty."""
    union = int((first | second).sum())
    return float((first & second).sum() / union) if union else 1.0


def frame_steps(frames: Picture) -> list[float | None]:
    """Mean absolute difference of each of the frames (F,h,w,3) to the one before; None at first."""
    steps = np.abs(frames[1:].astype(np.int16) - frames[:-1].astype(np.int16)).mean((1, 2, 3))
    return [None, *steps.tolist()]


def seam_score(frames: Picture, borders: Sequence[int]) -> float:
    """Mean frame difference into the frames `borders` over that into all others (F,h,w,3).

    1 = window borders are no rougher than the rest. Raises ValueError when either kind is missing.
    """
    return seam_ratio(frame_steps(frames), borders)


def seam_ratio(steps: Sequence[float | None], borders: Sequence[int]) -> float:
    """`seam_score` of a clip by the differences `frame_steps`; None where none is known."""
    known = [index for index, step in enumerate(steps) if step is not None]
    values = np.array([steps[index] for index in known], np.float64)
    at_border = np.isin(known, list(borders))
    if at_border.all() or not at_border.any() or not values[~at_border].any():
        raise ValueError("a seam score needs frames at window borders and motion elsewhere")
    return float(values[at_border].mean() / values[~at_border].mean())
