"""The default fit: scale from body proportions, shift from joints, neither bent by outliers.

Regressing heights on heights, as the published fit does, shrinks the scale when the driver moves,
and one wrong joint turns it over. Here the scale is a robust mean of how many times longer each
part of the body is in the reference than in the driver's typical frame; with the scale known, the
shift is a robust mean of joint offsets. Parts that either does not show take no part.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from pose.arrays import Array, Indices
from pose.layout import (
    BODY,
    FACE,
    LEFT_ANKLE,
    LEFT_EAR,
    LEFT_ELBOW,
    LEFT_EYE,
    LEFT_HIP,
    LEFT_KNEE,
    LEFT_SHOULDER,
    LEFT_WRIST,
    NECK,
    NOSE,
    RIGHT_ANKLE,
    RIGHT_EAR,
    RIGHT_ELBOW,
    RIGHT_EYE,
    RIGHT_HIP,
    RIGHT_KNEE,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
    SEEN,
)  # fmt: skip
from pose.retarget.similarity import Similarity
from pose.sequence import PoseSequence

# Parts whose lengths are compared, and how much each says: long ones more than short ones, the
# trunk more than arms and legs, which point at the camera more often.
_PARTS: Final = (
    (NECK, RIGHT_HIP, 1.0), (NECK, LEFT_HIP, 1.0),
    (RIGHT_SHOULDER, LEFT_SHOULDER, 0.7), (RIGHT_HIP, LEFT_HIP, 0.3),
    (RIGHT_HIP, RIGHT_KNEE, 0.6), (LEFT_HIP, LEFT_KNEE, 0.6),
    (RIGHT_KNEE, RIGHT_ANKLE, 0.6), (LEFT_KNEE, LEFT_ANKLE, 0.6),
    (RIGHT_SHOULDER, RIGHT_ELBOW, 0.3), (LEFT_SHOULDER, LEFT_ELBOW, 0.3),
    (RIGHT_ELBOW, RIGHT_WRIST, 0.2), (LEFT_ELBOW, LEFT_WRIST, 0.2),
    (NECK, NOSE, 0.5), (RIGHT_EYE, LEFT_EYE, 0.2), (RIGHT_EAR, LEFT_EAR, 0.3),
    (FACE.start, FACE.start + 16, 0.3), (FACE.start + 27, FACE.start + 8, 0.3),
)  # fmt: skip
# Arms wave about their shoulders, so their places say little about the person's.
_STEADINESS: Final = np.array(
    [1, 1, 1, 0.2, 0.1, 1, 0.2, 0.1, 1, 0.6, 0.6, 1, 0.6, 0.6, 0.5, 0.5, 0.5, 0.5]
)
# A driver's typical length of a part: above the median, since pointing at the camera shortens it.
_TYPICAL = 2 / 3
# Differences beyond these count as outliers: logarithm of a ratio; part of the reference's size.
_RATIO_OUTLIER = 0.1
_OFFSET_OUTLIER = 0.1
# Shots whose own fits differ by more were framed differently: ratio of scales; part of the size.
_OTHER_SCALE = 1.25
_OTHER_PLACE = 0.25

Framing = tuple[Indices, Similarity]


def framings(
    driving: PoseSequence, points: Array, scores: Array, reference: PoseSequence
) -> list[Framing]:
    """The fit of every stretch of frames that has one framing: (frame numbers, fit).

    Shots that fit as the longest does are one framing, so that a cut found by mistake moves
    nothing; a shot framed otherwise (a close-up) gets its own. `points` (F,134,2) and `scores`
    (F,134) are the driving person's.
    """
    goal_points = reference.points[0, 0].astype(np.float64)
    joints = reference.scores[0, 0].astype(np.float64)
    shots = [np.arange(start, stop) for start, stop in driving.shots]
    fits = [fit_robust(points[shot], scores[shot], goal_points, joints) for shot in shots]
    fitted = [i for i, fit in enumerate(fits) if fit is not None]
    if not fitted:
        height_ratio = reference.canvas[1] / driving.canvas[1]
        return [
            (np.arange(len(points)), _fallback(points, scores, goal_points, joints, height_ratio))
        ]
    main = max(fitted, key=lambda i: len(shots[i]))
    size = _size(goal_points, joints)

    def _seen(shot: Indices) -> Array:
        return points[shot][scores[shot] >= SEEN]

    alike = [i for i in range(len(shots)) if _alike(fits[i], fits[main], _seen(shots[i]), size)]
    together = np.concatenate([shots[i] for i in alike])
    pooled = fit_robust(points[together], scores[together], goal_points, joints) or fits[main]
    assert pooled is not None
    others = [(shots[i], fit) for i, fit in enumerate(fits) if i not in alike and fit is not None]
    return [(together, pooled), *others]


def fit_robust(
    points: Array, scores: Array, goal_points: Array, joints: Array
) -> Similarity | None:
    """Scale and shift from driver (F,134,2) to reference (134,2); None if nothing compares."""
    ratios, weights = _ratios(points, scores, goal_points, joints)
    if not len(ratios):
        return None
    scale = math.exp(float(_robust_mean(ratios[:, None], weights, _RATIO_OUTLIER)[0]))
    shift = _shift(points, scores, goal_points, joints, scale)
    return None if shift is None else Similarity(scale=scale, shift=shift)


def _ratios(points: Array, scores: Array, goal_points: Array, joints: Array) -> tuple[Array, Array]:
    """Logarithms of reference length over typical driving length, and what each weighs."""
    ratios, weights = [], []
    for a, b, worth in _PARTS:
        together = (scores[:, a] >= SEEN) & (scores[:, b] >= SEEN)
        if min(joints[a], joints[b]) < SEEN or not together.any():
            continue
        lengths = np.linalg.norm(points[together, a] - points[together, b], axis=1)
        typical = float(np.quantile(lengths, _TYPICAL))
        goal = float(np.linalg.norm(goal_points[a] - goal_points[b]))
        if typical > 0 and goal > 0:
            ratios.append(math.log(goal / typical))
            confidence = math.sqrt(joints[a] * joints[b] * scores[together][:, [a, b]].mean())
            # A part seen in few frames says less about the clip.
            weights.append(worth * confidence * math.sqrt(together.mean()))
    return np.array(ratios), np.array(weights)


def _shift(
    points: Array, scores: Array, goal_points: Array, joints: Array, scale: float
) -> tuple[float, float] | None:
    seen = (scores[:, BODY] >= SEEN) & (joints[BODY] >= SEEN)
    if not seen.any():
        return None
    offsets = (goal_points[BODY] - scale * points[:, BODY])[seen]
    weights = (scores[:, BODY] * joints[BODY] * _STEADINESS)[seen]
    x, y = _robust_mean(offsets, weights, _OFFSET_OUTLIER * _size(goal_points, joints)).tolist()
    return x, y


def _robust_mean(values: Array, weights: Array, outlier: float) -> Array:
    """Huber's mean of values (N,D): squares near the middle, distances beyond `outlier`."""
    middle = np.array([_weighted_median(column, weights) for column in values.T])
    for _ in range(30):
        distance = np.linalg.norm(values - middle, axis=1)
        trust = weights * np.minimum(1, outlier / np.maximum(distance, 1e-12))
        moved = (values * trust[:, None]).sum(axis=0) / trust.sum()
        if np.abs(moved - middle).max() < 1e-9:
            break
        middle = moved
    return np.asarray(middle)


def _weighted_median(values: Array, weights: Array) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _size(goal_points: Array, joints: Array) -> float:
    """Extent of what is seen of the reference, in pixels."""
    seen = goal_points[joints >= SEEN]
    return float(np.hypot(*np.ptp(seen, axis=0))) or 1.0


def _alike(fit: Similarity | None, main: Similarity | None, seen: Array, size: float) -> bool:
    """True if a shot's fit does to its seen points (N,2) about what the main one's does.

    A shot without a fit of its own follows the main one.
    """
    if fit is None or main is None:
        return True
    middle = np.median(seen, axis=0)
    apart = float(np.linalg.norm(fit(middle) - main(middle)))
    scales = abs(math.log(fit.scale / main.scale))
    return scales < math.log(_OTHER_SCALE) and apart < _OTHER_PLACE * size


def _fallback(
    points: Array,
    scores: Array,
    goal_points: Array,
    joints: Array,
    scale: float,
) -> Similarity:
    """Nothing to measure a scale by: `scale` itself, on a joint in common, else middle on middle.

    The comparison that follows warns that the two people show nothing in common.
    """
    shift = _shift(points, scores, goal_points, joints, scale)
    if shift is None:
        seen = points[scores >= SEEN]
        x, y = (
            np.median(goal_points[joints >= SEEN], axis=0) - scale * np.median(seen, axis=0)
        ).tolist()
        shift = (x, y)
    return Similarity(scale=scale, shift=shift)
