"""The landmark networks: the body's 33 points, each hand's 21, the face's 468.

Each looks at one region and answers for the one body, hand or face in it. Constants (growth of
regions, windows, thresholds) are those of the published graphs; sources: "BlazePose"
(arXiv 2006.10204), "MediaPipe Hands" (arXiv 2006.10214), "Real-time Facial Surface Geometry"
(arXiv 1907.06724), and the published holistic graph.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose.estimators.blazepose.detection import Detection, Detector, sigmoid
from pose.estimators.blazepose.regions import Region, between, crop, level, wrapped
from pose.estimators.sessions import Network

BODY_INPUT, HAND_INPUT, HAND_REGION_INPUT, FACE_INPUT = 256, 224, 256, 192

_BODY_GROWTH = 1.25
_HEAT_WINDOW = 3  # cells to each side: 7x7
_HEAT_MINIMUM = 0.5
_HAND_GROWTH, _HAND_SHIFT = 2.7, -0.1
_FACE_SEARCH_GROWTH, _FACE_GROWTH = 3.0, 1.5
_SAME_HEAD = 0.25
"""Parts of a face's size by which the noses of one head's two bodies differ at most."""

_SEEN = 0.5
"""Visibility from which a point counts as seen."""

# Indices of the 33 body points.
_NOSE, _EYE_LEFT, _EYE_RIGHT = 0, 2, 5
_HEAD = slice(0, 11)
_SHOULDERS = [11, 12]
# Points of the face's mesh.
_FOREHEAD, _CHIN = 10, 152
_HAND_POINTS = {"left": (15, 17, 19), "right": (16, 18, 20)}  # wrist, little finger, index finger


@dataclass(frozen=True, kw_only=True)
class Body:
    """The 33 body points of one person."""

    points: NDArray[np.float32]
    """(33,2) pixels of the frame, also for joints outside of it."""
    visibility: NDArray[np.float32]
    """(33,) probability that a joint can be seen."""
    presence: float
    """Probability that there is a body in the region."""
    following: Region
    """The region in which the same body is looked for in the next frame."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A hand's 21 or a face's 468 points."""

    points: NDArray[np.float32]
    """(K,2) pixels of the frame."""
    presence: float
    """Probability that the part is there."""


def body_region(detection: Detection) -> Region:
    """The region in which the landmarks of a detected body are looked for."""
    return between(detection.points[0], detection.points[1]).grown(_BODY_GROWTH)


def find_body(network: Network, frame: NDArray[np.uint8], region: Region) -> Body:
    """The body in `region`; its `presence` says whether there is one.

    `network` gives 39 points (x, y in input pixels, depth, visibility and presence logits), the
    body's presence, and last a heat map (1,64,64,39) that sharpens the points. Points 33 and 34
    are the hips' middle and a point of the body's circle.
    """
    values, presence, heat = network(crop(frame, region, BODY_INPUT))
    table = values.reshape(39, 5)
    points = sharpened(table[:, :2] / np.float32(BODY_INPUT), heat[0])
    placed = region.to_frame(points)
    return Body(
        points=placed[:33],
        visibility=sigmoid(table[:33, 3]),
        presence=float(presence.reshape(-1)[0]),
        following=between(placed[33], placed[34]).grown(_BODY_GROWTH),
    )


def sharpened(points: NDArray[np.float32], heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points (K,2) in [0,1], moved to the centre of mass of their heat map (h,w,K) nearby.

    Where the heat (sigmoid of the logits) within the window stays below one half, or the point
    lies outside of the map, it is kept.
    """
    height, width, _ = heat.shape
    moved = points.copy()
    for index, (x, y) in enumerate(points):
        column, row = int(x * width), int(y * height)
        if not (0 <= column < width and 0 <= row < height):
            continue
        left, top = max(0, column - _HEAT_WINDOW), max(0, row - _HEAT_WINDOW)
        window = sigmoid(
            heat[top : row + _HEAT_WINDOW + 1, left : column + _HEAT_WINDOW + 1, index]
        )
        if window.max() < _HEAT_MINIMUM:
            continue
        total = window.sum()
        columns, rows = np.arange(window.shape[1]) + left, np.arange(window.shape[0]) + top
        moved[index, 0] = (window.sum(axis=0) * columns).sum() / total / width
        moved[index, 1] = (window.sum(axis=1) * rows).sum() / total / height
    return moved


def columns(body: Body) -> tuple[float, float] | None:
    """Left and right end in pixels of what can be seen of a body; None where that is nothing."""
    seen = body.points[body.visibility >= _SEEN, 0]
    return (float(seen.min()), float(seen.max())) if len(seen) else None


def shoulders_below(body: Body, face: Part) -> float:
    """Distance of the shoulders' middle below the chin, in heights of the face along its own axis.

    Of somebody upright about 0.3 to 0.75; less where the head is bowed or far in front.
    """
    chin, top = face.points[_CHIN], face.points[_FOREHEAD]
    axis = chin - top
    away = body.points[_SHOULDERS].mean(axis=0) - chin
    return float(away @ axis / max(float(axis @ axis), 1e-6))


def same_head(first: Body, second: Body, face: Part) -> bool:
    """True where two bodies have their noses at one spot, by the size of the face."""
    size = float(np.hypot(*np.ptp(face.points, axis=0)))
    return float(np.linalg.norm(first.points[_NOSE] - second.points[_NOSE])) <= _SAME_HEAD * size


def hand_search_region(body: Body, side: str) -> Region:
    """A wide region around the `side` ("left", "right": the person's own) hand of a body."""
    wrist, little, index = (body.points[joint] for joint in _HAND_POINTS[side])
    middle = (2 * index + little) / 3
    dx, dy = middle - wrist
    angle = wrapped(math.atan2(float(dy), float(dx)) + math.pi / 2)
    around = Region(
        x=float(middle[0]), y=float(middle[1]), side=2 * math.hypot(dx, dy), angle=angle
    )
    return around.grown(_HAND_GROWTH, down=_HAND_SHIFT)


def wrist_visibility(body: Body, side: str) -> float:
    """Probability, by the body network, that a hand's wrist can be seen."""
    return float(body.visibility[_HAND_POINTS[side][0]])


def hand_region(network: Network, frame: NDArray[np.uint8], search: Region) -> Region:
    """The hand's own region inside the wide one: `network` finds its middle and its edge."""
    points = network(crop(frame, search, HAND_REGION_INPUT))[0].reshape(2, 2)
    placed = search.to_frame(points / np.float32(HAND_REGION_INPUT))
    return between(placed[0], placed[1], up=False)


def find_hand(network: Network, frame: NDArray[np.uint8], region: Region) -> Part:
    """The 21 points of the hand in `region`."""
    values, presence = network(crop(frame, region, HAND_INPUT))[:2]
    points = values.reshape(21, 3)[:, :2] / np.float32(HAND_INPUT)
    return Part(points=region.to_frame(points), presence=float(presence.reshape(-1)[0]))


def face_search_region(body: Body) -> Region:
    """A wide region around the head of a body."""
    head = body.points[_HEAD]
    low, high = head.min(axis=0), head.max(axis=0)
    middle = (low + high) / 2
    around = Region(
        x=float(middle[0]),
        y=float(middle[1]),
        side=float((high - low).max()),
        angle=level(body.points[_EYE_RIGHT], body.points[_EYE_LEFT]),
    )
    return around.grown(_FACE_SEARCH_GROWTH)


def face_region(
    detector: Detector, frame: NDArray[np.uint8], search: Region, least: float = 0.0
) -> Region | None:
    """The region of the surest face inside the wide one, or None where no face is seen.

    `least` is the score that it must have, if more than the detector's own.
    """
    faces = detector(frame, search)
    if not faces or faces[0].score < least:
        return None
    face = faces[0]
    around = Region(
        x=float(face.centre[0]),
        y=float(face.centre[1]),
        side=face.side,
        angle=level(face.points[0], face.points[1]),
    )
    return around.grown(_FACE_GROWTH)


def find_face(network: Network, frame: NDArray[np.uint8], region: Region) -> Part:
    """The 468 points of the face in `region`."""
    values, logit = network(crop(frame, region, FACE_INPUT))[:2]
    points = values.reshape(468, 3)[:, :2] / np.float32(FACE_INPUT)
    return Part(points=region.to_frame(points), presence=float(sigmoid(logit).reshape(-1)[0]))
