"""The pixels of a person whose pose is known, by the body network's own segmentation.

The network sees what the body landmarks' sees: the square around the hips that reaches beyond the
joint farthest from them, turned so that the trunk is upright.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pose import layout
from pose.estimators.blazepose.detection import sigmoid
from pose.estimators.blazepose.estimator import NETWORKS
from pose.estimators.blazepose.regions import Region, between, crop
from pose.estimators.sessions import Network
from pose.layout import SEEN

_HIPS = [layout.RIGHT_HIP, layout.LEFT_HIP]
_SHOULDERS = [layout.RIGHT_SHOULDER, layout.LEFT_SHOULDER]
_INPUT = 256
_GROWTH = 1.3
_HIPS_BELOW_SHOULDERS = 1.5
"""Widths of the shoulders, where the hips are not seen."""
_MOST_ENLARGED = 1024
"""Longer side in pixels at which the mask is worked out; it has no more detail."""


def person_mask(
    picture: NDArray[np.uint8], points: NDArray[np.floating], scores: NDArray[np.floating]
) -> NDArray[np.float32]:
    """(h,w) in [0,1]: 1 where the person is, 0 elsewhere and where nobody is seen.

    picture: (h,w,3) RGB
    points, scores: (134,2) in its pixels and (134,) of its person

    Raises `PoseError` where the network's file is missing or broken.
    """
    height, width = picture.shape[:2]
    region = _region(np.asarray(points, np.float32), np.asarray(scores) >= SEEN)
    if region is None:
        return np.zeros((height, width), np.float32)
    (output,) = _network()(crop(picture, region, _INPUT))
    corners = np.array([[0, 0], [1, 0], [0, 1]], np.float32)
    matrix = cv2.getAffineTransform(corners * _INPUT, region.to_frame(corners))
    # Where the region is larger than its pixels here, a mask pixel is the mean of several.
    factor = min(4, max(1, round(_MOST_ENLARGED / max(height, width))))
    matrix *= factor
    matrix[:, 2] += (factor - 1) / 2  # pixels are counted by their centres
    inside = sigmoid(output[0, ..., 0])
    large = cv2.warpAffine(inside, matrix, (factor * width, factor * height))
    small = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small.clip(0, 1), np.float32)


@cache
def _network() -> Network:
    return Network(NETWORKS / "person_mask.onnx")


def _region(points: NDArray[np.float32], seen: NDArray[np.bool_]) -> Region | None:
    """The square that the network looks at; None where neither shoulders nor hips are seen."""
    body = points[layout.BODY][seen[layout.BODY]]
    hips, chest = points[_HIPS].mean(0), points[_SHOULDERS].mean(0)
    if not seen[_HIPS].all():
        if not seen[_SHOULDERS].all():
            return None
        breadth = float(np.linalg.norm(points[_SHOULDERS[0]] - points[_SHOULDERS[1]]))
        hips = chest + np.array([0, _HIPS_BELOW_SHOULDERS * breadth], np.float32)
    elif not seen[_SHOULDERS].all():
        chest = hips - np.array([0, 1], np.float32)
    reach = float(np.linalg.norm(body - hips, axis=1).max())
    return replace(between(hips, chest), side=2 * _GROWTH * reach) if reach >= 1 else None
