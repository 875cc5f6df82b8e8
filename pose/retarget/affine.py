"""The published fit: least squares over the heights of the joints, one scale for both axes."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from pose.arrays import Array
from pose.errors import PoseError
from pose.layout import SEEN
from pose.retarget.similarity import Similarity

# Nose, neck, shoulders, hips, knees, ankles, eyes and ears: the published choice, without arms.
JOINTS: Final = (0, 1, 2, 5, *range(8, 18))


def fit_affine(body: Array, scores: Array, goal_points: Array, joints: Array) -> Similarity:
    """The published scale and shift, in pixels.

    `body` (F,18,2) and `scores` (F,18) are the driver's, `goal_points` (18,2) and `joints` (18,)
    the reference's. Joints that were never estimated (score 0) are left out; the published code
    always has a place for them. Raises `PoseError` when too little is seen to fit a line.
    """
    chosen = [joint for joint in JOINTS if joints[joint] > SEEN]
    both = scores[:, chosen] > 0
    driver_points = body[:, chosen][both]
    goals = np.broadcast_to(goal_points[chosen], (len(body), len(chosen), 2))[both]
    if len(driver_points) < 2 or np.ptp(driver_points[:, 1]) == 0:
        raise PoseError(
            "the affine fit needs two joints at different heights that both the reference and the "
            "driver show (head, shoulders, hips or legs); use the mode robust or other pictures"
        )
    mean, goal = driver_points.mean(axis=0), goals.mean(axis=0)
    height = driver_points[:, 1] - mean[1]
    scale = float((height * (goals[:, 1] - goal[1])).sum() / (height * height).sum())
    x, y = (goal - scale * mean).tolist()
    return Similarity(scale=scale, shift=(x, y))


def affine_parts(
    *,
    body: ArrayLike,
    face: ArrayLike,
    hands: ArrayLike,
    reference_body: ArrayLike,
    reference_scores: ArrayLike,
    driving_size: tuple[int, int],
    reference_size: tuple[int, int],
) -> tuple[Array, Array, Array]:
    """The published alignment of a sequence given as parts, in double precision.

    `body` (F,18,2), `face` (F,68,2) and `hands` (F,2,21,2) are in [0,1] of the driving picture,
    every frame showing exactly one person; `reference_body` (18,2) is in [0,1] of the reference
    picture, with scores (18,). Sizes are (width, height). Returns body, face and hands in [0,1] of
    the reference picture. Raises `PoseError` when too little is seen to fit a line.
    """
    joints = np.asarray(reference_scores, np.float64)
    driver_points = np.asarray(body, np.float64) * driving_size
    goal_points = np.asarray(reference_body, np.float64) * reference_size
    similarity = fit_affine(driver_points, np.ones(driver_points.shape[:2]), goal_points, joints)
    moved = [
        similarity(np.asarray(part, np.float64) * driving_size) / reference_size
        for part in (body, face, hands)
    ]
    return moved[0], moved[1], moved[2]
