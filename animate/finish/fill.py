"""The known part of a picture, carried smoothly to where nothing is known."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from animate.finish.body import Field

_SMOOTHINGS = 12
"""Times that each level of what is filled in is smoothed."""


def filled(picture: NDArray, known: NDArray, longest: int | None = None) -> Field:
    """(H,W,3): `picture` where it is known, elsewhere by the colours around.

    known: (H,W) from 0 to 1
    longest: longer side in pixels at which the rest is worked out
    """
    height, width = known.shape
    weight = known.astype(np.float32)
    weighted = picture.astype(np.float32) * weight[..., None]
    if longest is None or max(height, width) <= longest:
        return _inwards(weighted, weight)
    scale = longest / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small, share = (
        cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in (weighted, weight)
    )
    rest = cv2.resize(
        _inwards(np.asarray(small, np.float32), np.asarray(share, np.float32)), (width, height)
    )
    return np.asarray(weighted + (1 - weight[..., None]) * rest, np.float32)


def _inwards(weighted: Field, weight: Field) -> Field:
    """Colours everywhere, of colours times weights: from coarse to fine, each level where the finer
    one knows nothing (the pull and push of Gortler et al. 1996)."""
    height, width = weight.shape
    share = weight.clip(0, 1)[..., None]
    colours = weighted / np.maximum(weight, 1e-6)[..., None]
    if min(height, width) < 2 or (weight > 0.999).all():
        return np.asarray(colours, np.float32)
    halves = (np.asarray(cv2.pyrDown(part), np.float32) for part in (weighted, weight))
    coarse = _inwards(*halves)
    around = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    for _ in range(_SMOOTHINGS):  # so that it meets the known colours without an edge
        around = cv2.blur(share * colours + (1 - share) * around, (3, 3))
    return np.asarray(share * colours + (1 - share) * around, np.float32)
