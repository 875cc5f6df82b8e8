"""The reference's own face over that of a frame, where the head is turned as it is there.

The face's points are laid onto each other by a turn, a shift and a scale; what is left of their
difference says how far the pose allows it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from animate.finish.body import Field, blurred, fading
from animate.media.info import Image
from pose.layout import FACE, SEEN
from pose.sequence import PoseSequence

_FEWEST = 20
"""Points of a face that must be seen in both."""
_FITS, _DIFFERS = 0.08, 0.13
"""Mean distance of points, in face sizes, up to which the face is taken whole, and from which not
at all."""
_REACH = 1.05
"""Factor by which the face's outline is widened."""
_SOFT = 0.08
"""Deviation of the edge's smoothing, in face sizes."""


class ReferenceFace:
    """Lays a picture's face over frames by their poses."""

    def __init__(self, picture: Image, person: PoseSequence, followed: PoseSequence) -> None:
        """
        picture: (H,W,3), of the frames' size
        person: the pose of its person there, one frame
        followed: poses of the frames
        """
        self._picture = picture.astype(np.float32)
        self._points, self._scores = person.points[0, 0, FACE], person.scores[0, 0, FACE]
        self._followed = followed

    def __call__(self, number: int, frame: Image) -> Image:
        """Frame `number` (H,W,3) with the face, as far as its pose allows."""
        points = self._followed.points[number, 0, FACE]
        seen = np.minimum(self._followed.scores[number, 0, FACE], self._scores) >= SEEN
        if seen.sum() < _FEWEST:
            return frame
        mine, goals = self._points[seen].astype(float), points[seen].astype(float)
        way, distance = _laid(mine, goals)
        size = float(np.ptp(goals, axis=0).max())
        weight = float(fading(np.array(distance / max(size, 1e-6), np.float32), _FITS, _DIFFERS))
        outline = _outline(goals, size, frame.shape[:2])
        if weight == 0 or outline.max() == 0:
            return frame
        height, width = frame.shape[:2]
        face = cv2.warpAffine(self._picture, way, (width, height), borderMode=cv2.BORDER_REPLICATE)
        inside = outline > 0.5
        light = (frame.astype(np.float32) - face)[inside].mean(axis=0) if inside.any() else 0.0
        share = weight * outline[..., None]
        mixed = share * (face + light) + (1 - share) * frame
        return np.asarray((mixed + 0.5).clip(0, 255), np.uint8)


def _laid(
    points: NDArray[np.float64], goal: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """(2,3): the turn, scale and shift of points (N,2) to others, and the mean distance left."""
    centre, goal_centre = points.mean(axis=0), goal.mean(axis=0)
    here, there = points - centre, goal - goal_centre
    spread = max(float((here**2).sum()), 1e-9)
    along = float((here * there).sum()) / spread
    across = float((here[:, 0] * there[:, 1] - here[:, 1] * there[:, 0]).sum()) / spread
    turn = np.array([[along, -across], [across, along]])
    left = here @ turn.T - there
    way = np.hstack([turn, (goal_centre - turn @ centre)[:, None]])
    return way, float(np.sqrt((left**2).sum(axis=1).mean()))


def _outline(points: NDArray[np.float64], size: float, shape: tuple[int, ...]) -> Field:
    """(H,W): 1 within the face, softly 0 outside."""
    hull = cv2.convexHull(points.astype(np.float32)).reshape(-1, 2)
    centre = hull.mean(axis=0)
    wider = np.rint((hull - centre) * _REACH + centre).astype(np.int32)
    mask = np.zeros(shape, np.float32)
    cv2.fillConvexPoly(mask, wider, 1.0)
    return np.asarray(blurred(mask, max(0.8, _SOFT * size)), np.float32)
