"""Left and right mistaken for each other, found over time and put right.

For every group of paired points (trunk, head, arms, legs, hands) the cheapest way through a shot
is sought, by dynamic programming over two states a frame: as estimated, or exchanged. Motion is
cheap when it is short; every exchanged frame and every change of state costs, so that only a jump
to the other side and back, which no body makes, is worth an exchange.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pose.arrays import Array, Indices, Mask
from pose.layout import (
    BODY,
    LEFT_ANKLE,
    LEFT_EAR,
    LEFT_ELBOW,
    LEFT_EYE,
    LEFT_HAND,
    LEFT_HIP,
    LEFT_KNEE,
    LEFT_SHOULDER,
    LEFT_WRIST,
    MIRROR,
    RIGHT_ANKLE,
    RIGHT_EAR,
    RIGHT_ELBOW,
    RIGHT_EYE,
    RIGHT_HAND,
    RIGHT_HIP,
    RIGHT_KNEE,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
    SEEN,
)  # fmt: skip

# Points that are mistaken together; hand points move on their own, as they are found on their own.
_GROUPS: Final[tuple[tuple[int, ...], ...]] = (
    (RIGHT_SHOULDER, LEFT_SHOULDER, RIGHT_HIP, LEFT_HIP),
    (RIGHT_EYE, LEFT_EYE, RIGHT_EAR, LEFT_EAR),
    (RIGHT_ELBOW, LEFT_ELBOW, RIGHT_WRIST, LEFT_WRIST),
    (RIGHT_KNEE, LEFT_KNEE, RIGHT_ANKLE, LEFT_ANKLE, *range(18, 24)),
    (*range(LEFT_HAND.start, LEFT_HAND.stop), *range(RIGHT_HAND.start, RIGHT_HAND.stop)),
)
# In parts of the person's size (the diagonal of what is seen of the body): a change of state, and
# every exchanged frame. A flip of n frames is repaired when its two jumps cost more than
# 2 * change + n * stay.
_CHANGE: Final = 0.02
_STAY: Final = 0.004


def repair_flips(points: Array, scores: Array) -> tuple[Array, Array]:
    """Exchange what was mistaken, in points (F,134,2) and scores (F,134) of one shot."""
    points, scores = points.copy(), scores.copy()
    size = _size(points, scores)
    if size == 0:
        return points, scores
    for group in _GROUPS:
        members = np.array(group)
        partners = np.array([MIRROR[i] for i in group])
        paired = (scores[:, members] >= SEEN) & (scores[:, partners] >= SEEN)
        frames = np.flatnonzero(paired.any(axis=1))
        flipped = frames[_exchanged(points, paired, frames, members, partners, size)]
        rows = flipped[:, None]
        points[rows, members] = points[rows, partners]
        scores[rows, members] = scores[rows, partners]
    return points, scores


def _exchanged(
    points: Array,
    paired: Mask,
    frames: Indices,
    members: Indices,
    partners: Indices,
    size: float,
) -> Mask:
    """True if each of `frames` is exchanged on the cheapest way, as a mask over them."""
    if len(frames) < 3:
        return np.zeros(len(frames), bool)
    before, after = frames[:-1, None], frames[1:, None]
    both = paired[frames[:-1]] & paired[frames[1:]]
    count = np.maximum(1, both.sum(axis=1))

    def mean(distance: Array) -> Array:
        return np.asarray((distance * both).sum(axis=1) / count / size)

    straight = mean(np.linalg.norm(points[after, members] - points[before, members], axis=2))
    crossed = mean(np.linalg.norm(points[after, members] - points[before, partners], axis=2))
    return _cheapest(straight, crossed + _CHANGE)


def _cheapest(straight: Array, crossed: Array) -> Mask:
    """The states (N,) of least cost, given the costs (N-1,) of staying and of changing state."""
    cost = np.array([0.0, _STAY])
    came_from = np.zeros((len(straight), 2), int)
    for i, (stay, change) in enumerate(zip(straight, crossed, strict=True)):
        ways = cost[:, None] + np.array([[stay, change], [change, stay]])
        came_from[i] = ways.argmin(axis=0)
        cost = ways.min(axis=0) + np.array([0.0, _STAY])
    states = np.zeros(len(straight) + 1, bool)
    states[-1] = bool(cost.argmin())
    for i in range(len(straight) - 1, -1, -1):
        states[i] = bool(came_from[i, int(states[i + 1])])
    return states


def _size(points: Array, scores: Array) -> float:
    """Typical diagonal of what is seen of the body, in pixels; 0 if it never is."""
    seen = scores[:, BODY] >= SEEN
    frames = seen.sum(axis=1) >= 2
    if not frames.any():
        return 0.0
    body = np.where(seen[frames][..., None], points[frames][:, BODY], np.nan)
    return float(np.median(np.hypot(*(np.nanmax(body, axis=1) - np.nanmin(body, axis=1)).T)))
