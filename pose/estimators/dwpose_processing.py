"""DWPose before, between and after its two networks, exactly as published.

Plain functions of arrays. Legend: P people, 133 points in COCO-WholeBody order as the network gives
them, 134 in the order of `pose.layout`. Boxes are (P,4) left, top, right, bottom in pixels of the
frame. Source: the published DWPose ONNX inference (Yang et al., arXiv 2307.15880), as ControlNeXt
uses it; every constant below is its.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pose.layout import BODY, FACE, FEET, LEFT_HAND, POINTS, RIGHT_HAND

Floats = NDArray[np.floating]

DETECTOR_SIDE = 640
_STRIDES = (8, 16, 32)
_PADDING = 114
_CANDIDATE, _SURE, _OVERLAP = 0.1, 0.3, 0.45
_PERSON = 0  # of COCO's 80 classes

_BOX_GROWTH = 1.25
_MEAN = np.array([123.675, 116.28, 103.53])
_DEVIATION = np.array([58.395, 57.12, 57.375])


@dataclass(frozen=True, kw_only=True)
class PoseShape:
    """Shapes of a whole-body network that classifies coordinates (SimCC), by default DWPose's."""

    width: int = 288
    """Pixels across of its input."""
    height: int = 384
    """Pixels down of its input."""
    bins: float = 2.0
    """Bins of an axis's distribution for each pixel."""


DWPOSE = PoseShape()

_NECK_NEEDS = 0.3
_LEFT_SHOULDER, _RIGHT_SHOULDER, _NECK = 5, 6, 133
# The COCO point (or the neck, added last) at each of the 18 body points of the layout.
_BODY_FROM_COCO = [0, _NECK, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]


def detector_input(frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
    """The detector's (1,3,640,640) input, 0-255, and the scale from the frame to it.

    `frame` (H,W,3) uint8 RGB is scaled to fit and lies in the top left corner on grey.
    """
    height, width = frame.shape[:2]
    scale = min(DETECTOR_SIDE / height, DETECTOR_SIDE / width)
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    picture = np.full((DETECTOR_SIDE, DETECTOR_SIDE, 3), _PADDING, np.uint8)
    picture[: size[1], : size[0]] = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    return picture.transpose(2, 0, 1)[None].astype(np.float32), scale


def detected_boxes(output: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """The people in a detector's raw output (1,8400,85), the surest first.

    Columns are centre and size relative to the cells, objectness, and 80 class scores; `scale` is
    what `detector_input` gave.
    """
    table = output[0]
    grids, strides = _cells()
    # Rounded to single precision where the published code does: a last bit here can be a level in
    # the picture cut out below.
    centres = ((table[:, :2] + grids) * strides).astype(np.float32)
    halves = (np.exp(table[:, 2:4]) * strides).astype(np.float32) / 2
    boxes = np.concatenate([centres - halves, centres + halves], axis=1) / np.float32(scale)
    scores = table[:, 4] * table[:, 5 + _PERSON]
    candidates = np.flatnonzero(scores > _CANDIDATE)
    chosen = candidates[_suppressed(boxes[candidates], scores[candidates])]
    return boxes[chosen[scores[chosen] > _SURE]]


def _cells() -> tuple[Floats, Floats]:
    """Every cell's (x,y) and stride: (8400,2) and (8400,1)."""
    grids, strides = [], []
    for stride in _STRIDES:
        cells = np.arange(DETECTOR_SIDE // stride)
        grid = np.stack(np.meshgrid(cells, cells), axis=-1).reshape(-1, 2)
        grids.append(grid)
        strides.append(np.full((len(grid), 1), stride))
    return np.concatenate(grids), np.concatenate(strides)


def _suppressed(boxes: Floats, scores: Floats) -> NDArray[np.intp]:
    """Indices of the boxes that no surer one overlaps too much, the surest first.

    A box's size is its difference of corners plus one pixel.
    """
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1)
    left = scores.argsort()[::-1]
    chosen = []
    while len(left):
        best, remaining = left[0], left[1:]
        chosen.append(best)
        low = np.maximum(boxes[best, :2], boxes[remaining, :2])
        high = np.minimum(boxes[best, 2:], boxes[remaining, 2:])
        shared = np.prod(np.maximum(high - low + 1, 0), axis=1)
        left = remaining[shared / (areas[best] + areas[remaining] - shared) <= _OVERLAP]
    return np.array(chosen, dtype=np.intp)


def whole_frame(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(1,4): the one box that stands in where no person was detected."""
    return np.array([[0, 0, frame.shape[1], frame.shape[0]]], np.float32)


def pose_inputs(
    frame: NDArray[np.uint8], boxes: NDArray[np.float32], shape: PoseShape = DWPOSE
) -> NDArray[np.float32]:
    """The pose network's inputs (P,3,height,width), normalised, one for each of `boxes`."""
    inputs = []
    target = shape.width, shape.height
    for centre, size in zip(*_placed(boxes, shape), strict=True):
        matrix = cv2.getAffineTransform(
            _right_angle(centre, size[0]),
            _right_angle(np.array([shape.width, shape.height]) * 0.5, shape.width),
        )
        picture = cv2.warpAffine(frame, matrix, target, flags=cv2.INTER_LINEAR)
        inputs.append(((picture - _MEAN) / _DEVIATION).transpose(2, 0, 1))
    return np.array(inputs, np.float32).reshape(-1, 3, shape.height, shape.width)


def _right_angle(centre: Floats, width: float) -> NDArray[np.float32]:
    """(3,2): the centre, half a width above it, and from there half a width to the left.

    The third is made from the first two after these were rounded, as published.
    """
    corners = np.zeros((3, 2), np.float32)
    corners[0] = centre
    corners[1] = centre + np.array([0.0, -0.5 * width])
    down = corners[0] - corners[1]
    corners[2] = corners[1] + np.array([-down[1], down[0]])
    return corners


def _placed(boxes: NDArray[np.float32], shape: PoseShape) -> tuple[Floats, Floats]:
    """Centres (P,2) and sizes (P,2) of boxes, grown, then extended to the network's shape."""
    boxes = boxes.astype(np.float64)
    centres = (boxes[:, :2] + boxes[:, 2:]) * 0.5
    width, height = ((boxes[:, 2:] - boxes[:, :2]) * _BOX_GROWTH).T
    aspect = shape.width / shape.height
    wide = width > height * aspect
    sizes = np.stack(
        [np.where(wide, width, height * aspect), np.where(wide, width / aspect, height)], axis=1
    )
    return centres, sizes


def decoded_points(
    simcc_x: NDArray[np.float32],
    simcc_y: NDArray[np.float32],
    boxes: NDArray[np.float32],
    shape: PoseShape = DWPOSE,
) -> tuple[Floats, Floats]:
    """Points (P,133,2) in pixels of the frame and scores (P,133) of the pose network's outputs.

    `simcc_x` (P,133,576) and `simcc_y` (P,133,768) are distributions over half pixels of DWPose's
    input, and of other sizes for another `shape`; a score is the smaller of their maxima. Both
    results are float64.
    """
    places = np.stack([simcc_x.argmax(axis=2), simcc_y.argmax(axis=2)], axis=-1).astype(np.float64)
    scores = np.minimum(simcc_x.max(axis=2), simcc_y.max(axis=2)).astype(np.float64)
    places[scores <= 0] = -1
    centres, sizes = _placed(boxes, shape)
    parts = places / shape.bins / np.array([shape.width, shape.height])
    return parts * sizes[:, None] + centres[:, None] - sizes[:, None] / 2, scores


def to_layout(points: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """133 points and scores of each person as the layout's 134: points (P,134,2), scores (P,134).

    The neck is the shoulders' mean, with score 1 where both are above 0.3 and else 0.
    """
    shoulders = [_LEFT_SHOULDER, _RIGHT_SHOULDER]
    neck = points[:, shoulders].mean(axis=1, keepdims=True)
    neck_score = (scores[:, shoulders] > _NECK_NEEDS).all(axis=1, keepdims=True)
    points = np.concatenate([points, neck], axis=1)
    scores = np.concatenate([scores, neck_score.astype(scores.dtype)], axis=1)
    order = np.empty(POINTS, dtype=np.intp)
    order[BODY] = _BODY_FROM_COCO
    order[FEET] = np.arange(17, 23)
    order[FACE] = np.arange(23, 91)
    order[LEFT_HAND] = np.arange(91, 112)
    order[RIGHT_HAND] = np.arange(112, 133)
    return points[:, order], scores[:, order]
