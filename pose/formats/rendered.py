"""Skeleton pictures that somebody else drew, used as control frames as they are."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pose.errors import PoseError

# Pictures whose proportions differ by more would be visibly stretched.
_STRETCH = 0.02


def same_proportions(first: tuple[int, int], size: tuple[int, int]) -> bool:
    """True where a picture of the first (width, height) becomes the second without a stretch."""
    stretch = (size[0] / first[0]) / (size[1] / first[1])
    # A pixel of rounding at either size is no stretch.
    return abs(stretch - 1) <= _STRETCH + 1 / min(*first, *size)


def rendered_frame(
    image: NDArray[np.uint8], size: tuple[int, int], *, swap_red_blue: bool = False
) -> NDArray[np.uint8]:
    """A rendered skeleton (H,W,3) RGB, brought to `size` (width, height) and otherwise untouched.

    Made smaller by averaging, larger by interpolation. `swap_red_blue` turns the colours of the
    canonical style into the published order and back. Raises `PoseError` for another kind of image,
    or one of other proportions, since stretching would change the body.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise PoseError(
            f"a rendered skeleton must be an 8-bit RGB picture, not {image.dtype} {image.shape}"
        )
    height, width = image.shape[:2]
    if not same_proportions((width, height), size):
        raise PoseError(
            f"the rendered skeletons are {width}x{height}, the clip is {size[0]}x{size[1]}: their "
            "proportions differ; crop or pad the skeletons, or choose a size to match"
        )
    if (width, height) != tuple(size):
        shrinking = size[0] < width
        method = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, size, interpolation=method), dtype=np.uint8)
    return np.ascontiguousarray(image[..., ::-1]) if swap_red_blue else image
