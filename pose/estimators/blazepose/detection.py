"""The family's single-shot detectors: anchors, decoding, and suppression that averages.

Source: "BlazeFace" (Bazarevsky et al., arXiv 1907.05047), section 3.3, and the published graphs:
two anchors of equal size at every cell of every layer, scores clipped at 100 before the sigmoid,
boxes above 0.5 kept, those overlapping by more than 0.3 averaged by score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose.estimators.blazepose.regions import Region, crop
from pose.estimators.sessions import Network

_OVERLAP = 0.3
_SAME_HEAD = 0.15


@dataclass(frozen=True, kw_only=True, eq=False)
class Detection:
    """One found body or face, in pixels of the frame."""

    box: NDArray[np.float32]
    """(4,) left, top, right, bottom of the upright box around the (possibly turned) one."""
    centre: NDArray[np.float32]
    """(2,)."""
    side: float
    """The longer side of the detector's own box."""
    points: NDArray[np.float32]
    """(K,2): for a body the hips' middle, then a point of the circle around the whole body; for
    a face the right eye, the left eye, and four more."""
    score: float
    """In [0,1]."""


class Detector:
    """A single-shot network with its anchors.

    Args:
        network: outputs boxes (1,A,4+2K) in pixels of its input, relative to the anchors, and
            logits (1,A,1).
        size: its input's side.
        strides: of each layer in order; equal neighbours share their cells.
        threshold: the lowest score that counts.
    """

    def __init__(
        self, network: Network, *, size: int, strides: Sequence[int], threshold: float = 0.5
    ) -> None:
        self._network = network
        self._size = size
        self._threshold = threshold
        self._anchors = anchors(size, strides)

    def __call__(self, frame: NDArray[np.uint8], region: Region) -> list[Detection]:
        """Detections inside `region`, the most certain first."""
        boxes, logits = self._network(crop(frame, region, self._size, signed=True, border="zero"))[
            :2
        ]
        scores = sigmoid(logits.reshape(-1))
        keep = np.flatnonzero(scores > self._threshold)
        values = boxes[0, keep] / np.float32(self._size)
        corners = values.reshape(len(keep), values.shape[1] // 2, 2)
        # Offsets from the anchor, but for the box's size, which stands second.
        corners[:, [0, *range(2, corners.shape[1])]] += self._anchors[keep, None]
        return [
            _detection(corners[group], scores[keep][group], region)
            for group in _groups(corners[:, 0], corners[:, 1], scores[keep])
        ]


def anchors(size: int, strides: Sequence[int]) -> NDArray[np.float32]:
    """(A,2) centres of the anchors in [0,1], two for every cell of every layer."""
    layers = []
    for stride in dict.fromkeys(strides):
        cells = size // stride
        centres = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
        layers.append(np.repeat(grid, 2 * list(strides).count(stride), axis=0))
    return np.concatenate(layers)


def sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logistic function; beyond 80 it is 0 or 1 in float32 and exp would overflow."""
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -80, 80))), dtype=np.float32)


def _groups(
    centres: NDArray[np.float32], sizes: NDArray[np.float32], scores: NDArray[np.float32]
) -> list[NDArray[np.intp]]:
    """Indices of boxes that show the same thing, the best-scored group and member first."""
    low, high = centres - sizes / 2, centres + sizes / 2
    left = np.argsort(-scores, kind="stable")
    groups = []
    while len(left):
        best = left[0]
        same = overlap(np.hstack([low, high]), best)[left] > _OVERLAP
        same[0] = True
        groups.append(left[same])
        left = left[~same]
    return groups


def overlap(boxes: NDArray[np.float32], index: int | np.intp) -> NDArray[np.float32]:
    """Intersection over union of box `index` with each of `boxes` (N,4): two opposite corners."""
    low = np.maximum(boxes[:, :2], boxes[index, :2])
    high = np.minimum(boxes[:, 2:], boxes[index, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.asarray(shared / np.maximum(areas + areas[index] - shared, 1e-9), dtype=np.float32)


def _detection(
    corners: NDArray[np.float32], scores: NDArray[np.float32], region: Region
) -> Detection:
    """The average of a group (N,2+K,2: centre, size, points) by score, in the frame."""
    mean = (corners * scores[:, None, None]).sum(axis=0) / scores.sum()
    centre, size = mean[0], mean[1]
    edges = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]], np.float32) / 2
    outline = region.to_frame(centre + edges * size)
    return Detection(
        box=np.concatenate([outline.min(axis=0), outline.max(axis=0)]),
        centre=region.to_frame(centre[None])[0],
        side=float(size.max() * region.side),
        points=region.to_frame(mean[2:]),
        score=float(scores[0]),
    )


def tiles(width: int, height: int, parts: int = 1) -> list[Region]:
    """Squares that cover a frame, overlapping by at least half, for a closer look.

    Their side is the frame's shorter side, or 0.6 of the longer where the frame is nearly square,
    divided by `parts`.
    """
    side = min(min(width, height), 0.6 * max(width, height)) / parts
    return [
        Region(x=float(x), y=float(y), side=side)
        for y in _centres(height, side)
        for x in _centres(width, side)
    ]


def free_columns(width: int, taken: Sequence[tuple[float, float]], least: float) -> list[slice]:
    """Columns of a frame beside and between those that are `taken`, where at least so many."""
    free, edge = [], 0.0
    for start, right in sorted([*taken, (width, width)]):
        left = min(start, width)
        if left - edge >= least:
            free.append(slice(math.ceil(edge), math.floor(left)))
        edge = max(edge, right)
    return free


def _centres(length: int, side: float) -> NDArray[np.float64]:
    steps = int(np.ceil((length - side) / (side / 2) - 1e-9))
    return np.linspace(side / 2, length - side / 2, steps + 1)


def merged_bodies(detections: list[Detection]) -> list[Detection]:
    """Bodies found in several passes, the surest first, each once.

    A body's box stands for its head and has one size in every pass, so that two passes' boxes of
    one body hardly overlap; what agrees is its middle, measured by the circle around the body.
    """
    bodies: list[Detection] = []
    for body in sorted(detections, key=lambda body: -body.score):
        near = (
            np.linalg.norm(body.centre - other.centre) < _SAME_HEAD * min(_radius(body), radius)
            for other, radius in ((other, _radius(other)) for other in bodies)
        )
        if not any(near):
            bodies.append(body)
    return bodies


def _radius(body: Detection) -> float:
    return float(np.linalg.norm(body.points[1] - body.points[0]))
