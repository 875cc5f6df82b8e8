"""Likeness of two poses: one person or two, near or far, large or small in the picture.

Everything here works on keypoints alone.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pose.layout import (
    BODY,
    FACE,
    LEFT_HIP,
    LEFT_SHOULDER,
    NECK,
    RIGHT_HIP,
    RIGHT_SHOULDER,
    SEEN,
)

# Falloff of each body joint in object keypoint similarity: COCO's published constants (how far
# annotators differ), in the order of the layout; the neck has its shoulders'.
_SIGMAS = np.array(
    [
        0.026, 0.079, 0.079, 0.072, 0.062, 0.079, 0.072, 0.062, 0.107, 0.087, 0.089,
        0.107, 0.087, 0.089, 0.025, 0.025, 0.035, 0.035,
    ]
)  # fmt: skip
# COCO measures an object's size as its outlined area, about this part of its box.
_OUTLINE = 0.53
# Falloff of the mean distance of two faces' points, in sizes of the face.
_FACE_SPREAD = 0.35
# Two poses of a frame are one person where their faces or bodies are nearer than this.
_ONE_FACE, _ONE_BODY = 0.25, 0.5
# Nothing else is asked about people who are this similar.
SURE = 0.8
# Joints of the trunk, of which some are nearly always seen.
_TRUNK = [NECK, RIGHT_SHOULDER, LEFT_SHOULDER, RIGHT_HIP, LEFT_HIP]
_FEWEST_OF_TRUNK = 3
# Part of a person's height within which two trunks are one.
_ONE_TRUNK = 0.05
# The same within which one may hide the other.
_CLOSE = 0.3
# Part of the smaller person's box that another one covers before they are in each other's way.
_COVERED = 0.15

Person = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Points (134,2) and scores (134,) of one person in one frame."""


def likeness(first: Person, second: Person, *, slack: float = 1.0) -> float:
    """Similarity of two people in [0,1] by their bodies or their faces, whichever says more."""
    bodies = similarity(first, second, slack=slack)
    return bodies if bodies > SURE else max(bodies, _face_similarity(first, second, slack))


def similarity(first: Person, second: Person, *, slack: float = 1.0) -> float:
    """Object keypoint similarity in [0,1] of two people's (points (134,2), scores (134,)).

    Source: the COCO keypoint challenge. Only body joints that are seen in both count; without
    any it is 0. `slack` widens what counts as near.
    """
    both = (first[1][BODY] >= SEEN) & (second[1][BODY] >= SEEN)
    if not both.any():
        return 0.0
    size = max(_extent(*first), _extent(*second)) * slack
    apart = ((first[0][BODY][both] - second[0][BODY][both]) ** 2).sum(axis=1)
    width = (2 * _SIGMAS[both] * size) ** 2
    return float(np.exp(-apart / (2 * np.maximum(width, 1e-6))).mean())


def _face_similarity(first: Person, second: Person, slack: float) -> float:
    apart = face_distance(first, second)
    return 0.0 if apart is None else math.exp(-((apart / (_FACE_SPREAD * slack)) ** 2) / 2)


def face_distance(first: Person, second: Person) -> float | None:
    """Mean distance of two faces' points, in sizes of the smaller; None where one is not seen."""
    if min(first[1][FACE].mean(), second[1][FACE].mean()) < SEEN:
        return None
    faces = first[0][FACE], second[0][FACE]
    size = min(float(np.hypot(*np.ptp(face, axis=0))) for face in faces)
    return float(np.linalg.norm(faces[0] - faces[1], axis=1).mean()) / max(size, 1e-6)


def same_body(first: Person, second: Person) -> bool:
    """True where two poses of one frame show the same person."""
    apart = face_distance(first, second)
    if apart is not None and apart < _ONE_FACE:
        return True
    return similarity(first, second) > _ONE_BODY


def same_trunk(first: Person, second: Person) -> bool:
    """True where two poses of one frame stand on one spot, whatever their limbs do.

    Of two people on one spot only the one in front can be seen.
    """
    return _trunks_apart(first, second) < _ONE_TRUNK


def close_together(first: Person, second: Person) -> bool:
    """True where one of two people may hide the other's trunk, so that who is there is unsure."""
    return _trunks_apart(first, second) < _CLOSE


def _trunks_apart(first: Person, second: Person) -> float:
    """Mean distance of two trunks' joints, as a part of the larger person's height; infinite where
    too few are seen."""
    both = (first[1][_TRUNK] >= SEEN) & (second[1][_TRUNK] >= SEEN)
    if both.sum() < _FEWEST_OF_TRUNK:
        return math.inf
    apart = np.linalg.norm(first[0][_TRUNK][both] - second[0][_TRUNK][both], axis=1).mean()
    heights = [np.ptp(points[scores >= SEEN], axis=0).max() for points, scores in (first, second)]
    return float(apart / max(heights))


def covers(first: Person, second: Person) -> bool:
    """True where two people's boxes overlap so far that one hides a part of the other."""
    one, two = box(*first), box(*second)
    shared = (np.minimum(one[2:], two[2:]) - np.maximum(one[:2], two[:2])).clip(0)
    areas = [float(np.prod(edges[2:] - edges[:2])) for edges in (one, two)]
    return float(np.prod(shared)) > _COVERED * min(areas)


def box(points: NDArray[np.float32], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """(4,) left, top, right, bottom of a person's seen points (134,2), in pixels.

    Of all points with a score where none is seen well, zeros where there is none.
    """
    for lowest in (SEEN, np.finfo(np.float32).tiny):
        seen = points[scores >= lowest]
        if len(seen) > 1:
            return np.concatenate([seen.min(axis=0), seen.max(axis=0)])
    return np.zeros(4, np.float32)


def prominence(
    points: NDArray[np.float32], scores: NDArray[np.float32], canvas: tuple[int, int]
) -> float:
    """Share of one frame that a person takes: large, central and surely seen. In [0,1]."""
    around = box(points, scores)
    width, height = around[2:] - around[:2]
    size = math.sqrt(float(width * height) / (canvas[0] * canvas[1]))
    middle = (around[:2] + around[2:]) / 2
    aside = abs(float(middle[0]) / canvas[0] - 0.5) * 2
    return min(size, 1.0) * (1 - min(aside, 1.0) / 2) * float(scores[BODY].mean())


def _extent(points: NDArray[np.float32], scores: NDArray[np.float32]) -> float:
    left, top, right, bottom = box(points, scores)
    return math.sqrt(_OUTLINE * float(right - left) * float(bottom - top))
