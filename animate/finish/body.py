"""The person's region of a frame, by its skeleton: distances that soft masks are made of.

Everything is measured in the body's own unit, so that one set of numbers serves every size.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from animate.media.info import Image

Field = NDArray[np.float32]
"""(h,w) float32."""

_DRAWN = 24
"""Level of a channel from which a pixel belongs to a drawn skeleton."""
_UNIT = 0.085
"""The unit as a part of a standing body's height: about half the width of a trunk."""
_FAR = 1e6


def body_unit(skeletons: list[Image]) -> float:
    """Pixels from a limb's middle to well outside of it, by the tallest of some skeletons.

    A skeleton that is cut off at the knees or hips is wide for its height, which is seen.
    0 where nobody is drawn.
    """
    sizes = []
    for skeleton in skeletons:
        rows, columns = np.nonzero(_drawn(skeleton))
        if len(rows):
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            sizes.append(max(height, min(1.2 * height, 2.2 * width)))
    return _UNIT * float(max(sizes)) if sizes else 0.0


def distance(skeleton: Image, unit: float) -> Field:
    """(h,w) distance of each pixel from the drawn skeleton, in units; very far where none is."""
    drawn = _drawn(skeleton)
    if unit <= 0 or not drawn.any():
        return np.full(drawn.shape, _FAR, np.float32)
    away = cv2.distanceTransform((~drawn).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(away / unit, np.float32)


def fading(values: Field, start: float, end: float) -> Field:
    """1 up to `start`, 0 from `end`, smoothly between."""
    share = ((end - values) / (end - start)).clip(0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def blurred(picture: NDArray, radius: float) -> NDArray:
    """Smoothed by a Gaussian of deviation `radius` pixels, edges mirrored."""
    return cv2.GaussianBlur(picture, (0, 0), max(0.5, radius), borderType=cv2.BORDER_REFLECT_101)


def _drawn(skeleton: Image) -> NDArray[np.bool_]:
    return np.asarray(skeleton.max(-1) >= _DRAWN)
