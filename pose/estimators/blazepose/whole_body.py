"""From the family's 33 body, 2x21 hand and 468 face points to the 134 of `pose.layout`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pose import layout
from pose.estimators.blazepose.landmarks import Body, Part
from pose.estimators.blazepose.regions import Region, between

# Body point of the family for each point of the layout that has one of its own.
_BODY = {
    layout.NOSE: 0,
    layout.LEFT_EYE: 2,
    layout.RIGHT_EYE: 5,
    layout.LEFT_EAR: 7,
    layout.RIGHT_EAR: 8,
    layout.LEFT_SHOULDER: 11,
    layout.RIGHT_SHOULDER: 12,
    layout.LEFT_ELBOW: 13,
    layout.RIGHT_ELBOW: 14,
    layout.LEFT_WRIST: 15,
    layout.RIGHT_WRIST: 16,
    layout.LEFT_HIP: 23,
    layout.RIGHT_HIP: 24,
    layout.LEFT_KNEE: 25,
    layout.RIGHT_KNEE: 26,
    layout.LEFT_ANKLE: 27,
    layout.RIGHT_ANKLE: 28,
    layout.LEFT_HEEL: 29,
    layout.RIGHT_HEEL: 30,
    layout.LEFT_BIG_TOE: 31,
    layout.RIGHT_BIG_TOE: 32,
}

# The 68 face points as points of the 468-point mesh; two are averaged.
_JAW = (
    127, 234, 93, (132, 58), (58, 172), 136, 150, 176, 152, 400, 379, 365, (397, 288), 361,
    323, 454, 356,
)  # fmt: skip
_BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
_NOSE = ((168, 6), (197, 195), 5, 4, 98, 97, 2, 326, 327)
_EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
_MOUTH = (
    61, 39, 37, 0, 267, 269, 291, 321, 314, 17, 84, 91,
    78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
_FACE = np.array(
    [
        pair if isinstance(pair, tuple) else (pair, pair)
        for pair in (*_JAW, *_BROWS, *_NOSE, *_EYES, *_MOUTH)
    ]
)


# Nose, eyes and ears of the layout as points of the mesh, for a face without a body.
_HEAD = {
    layout.NOSE: (4, 4),
    layout.RIGHT_EYE: (33, 133),
    layout.LEFT_EYE: (362, 263),
    layout.RIGHT_EAR: (127, 234),
    layout.LEFT_EAR: (356, 454),
}
# The circle around a whole body reaches this much further from the hips than its outermost joint,
# and a body is looked for in a square this many times as wide.
_BEYOND, _BODY_GROWTH = 1.18, 1.25
_FACE_SEARCH = 3.0


def expected_region(points: NDArray[np.float32]) -> Region:
    """The region in which the body with these points (134,2) would be looked for."""
    hips = points[[layout.RIGHT_HIP, layout.LEFT_HIP]].mean(axis=0)
    upwards = points[layout.NECK] - hips
    length = float(np.hypot(*upwards)) or 1.0
    joints = points[list(_BODY)]
    reach = float(np.linalg.norm(joints - hips, axis=1).max()) * _BEYOND
    return between(hips, hips + upwards / length * reach).grown(_BODY_GROWTH)


def face_around(points: NDArray[np.float32]) -> Region:
    """A wide region around the 68 points of a face."""
    low, high = points.min(axis=0), points.max(axis=0)
    x, y = ((low + high) / 2).tolist()
    return Region(x=x, y=y, side=float((high - low).max()) * _FACE_SEARCH)


def whole_body(
    body: Body | None, face: Part | None, hands: Mapping[str, Part], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One person's points (134,2) in pixels and scores (134,).

    A body point's score is its visibility, a face's or hand's the part's presence; outside of the
    frame of `size` (width, height) it is 0, as is every point that was not looked for: the small
    toes, which the family does not have, and parts that are missing. Of a face without a body the
    nose, eyes and ears are the mesh's.
    """
    points = np.zeros((layout.POINTS, 2), np.float32)
    scores = np.zeros(layout.POINTS, np.float32)
    if body is not None:
        ours, theirs = list(_BODY), list(_BODY.values())
        points[ours], scores[ours] = body.points[theirs], body.visibility[theirs]
        shoulders = [layout.LEFT_SHOULDER, layout.RIGHT_SHOULDER]
        points[layout.NECK] = points[shoulders].mean(axis=0)
        scores[layout.NECK] = scores[shoulders].min()
    elif face is not None:
        for joint, pair in _HEAD.items():
            points[joint], scores[joint] = face.points[list(pair)].mean(axis=0), face.presence
    if face is not None:
        points[layout.FACE], scores[layout.FACE] = face_points(face.points), face.presence
    for side, where in (("left", layout.LEFT_HAND), ("right", layout.RIGHT_HAND)):
        if side in hands:
            points[where], scores[where] = hands[side].points, hands[side].presence
    inside = ((points >= 0) & (points <= size)).all(axis=1)
    return points, np.clip(scores * inside, 0, 1).astype(np.float32)


def face_points(mesh: NDArray[np.float32]) -> NDArray[np.float32]:
    """The 68 face points of a mesh (468,2)."""
    return mesh[_FACE].mean(axis=1, dtype=np.float32)
