"""Every limb at the reference's length, at the driver's angle; feet stay on the ground.

The driver is first placed by the robust fit. Walking out from the trunk, each bone is then
stretched along its own direction, and carries what hangs on it; joint angles, and foreshortening
as part of the bone's length, are the driver's own.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from pose.arrays import Array, Mask
from pose.layout import (
    FACE,
    FEET,
    LEFT_ANKLE,
    LEFT_BIG_TOE,
    LEFT_EAR,
    LEFT_ELBOW,
    LEFT_EYE,
    LEFT_HAND,
    LEFT_HEEL,
    LEFT_HIP,
    LEFT_KNEE,
    LEFT_SHOULDER,
    LEFT_SMALL_TOE,
    LEFT_WRIST,
    NECK,
    NOSE,
    POINTS,
    RIGHT_ANKLE,
    RIGHT_BIG_TOE,
    RIGHT_EAR,
    RIGHT_ELBOW,
    RIGHT_EYE,
    RIGHT_HAND,
    RIGHT_HEEL,
    RIGHT_HIP,
    RIGHT_KNEE,
    RIGHT_SHOULDER,
    RIGHT_SMALL_TOE,
    RIGHT_WRIST,
    SEEN,
)  # fmt: skip

# The middle of the hips, which the layout lacks, is put behind its last point.
_HIPS: Final = POINTS

# (parent, child, group): bones of one group get one ratio, so that the two sides stay alike.
_BONES: Final[tuple[tuple[int, int, str], ...]] = (
    (_HIPS, NECK, "trunk"),
    (_HIPS, RIGHT_HIP, "hips"), (_HIPS, LEFT_HIP, "hips"),
    (RIGHT_HIP, RIGHT_KNEE, "thigh"), (LEFT_HIP, LEFT_KNEE, "thigh"),
    (RIGHT_KNEE, RIGHT_ANKLE, "shin"), (LEFT_KNEE, LEFT_ANKLE, "shin"),
    (NECK, RIGHT_SHOULDER, "shoulder"), (NECK, LEFT_SHOULDER, "shoulder"),
    (RIGHT_SHOULDER, RIGHT_ELBOW, "upper arm"), (LEFT_SHOULDER, LEFT_ELBOW, "upper arm"),
    (RIGHT_ELBOW, RIGHT_WRIST, "forearm"), (LEFT_ELBOW, LEFT_WRIST, "forearm"),
    (NECK, NOSE, "neck"),
    (NOSE, RIGHT_EYE, "head"), (NOSE, LEFT_EYE, "head"),
    (NOSE, RIGHT_EAR, "head"), (NOSE, LEFT_EAR, "head"),
    *((NOSE, i, "head") for i in range(FACE.start, FACE.stop)),
)  # fmt: skip
# Curled or seen from the side in a single picture, hands and feet cannot be measured. Hands follow
# the face, which they are about as long as and which points at the camera less often than forearms;
# feet follow the shins.
_FOLLOWERS: Final[tuple[tuple[int, int, str], ...]] = (
    *((LEFT_ANKLE, i, "shin") for i in (LEFT_BIG_TOE, LEFT_SMALL_TOE, LEFT_HEEL)),
    *((RIGHT_ANKLE, i, "shin") for i in (RIGHT_BIG_TOE, RIGHT_SMALL_TOE, RIGHT_HEEL)),
    *((LEFT_WRIST, i, "head") for i in range(LEFT_HAND.start, LEFT_HAND.stop)),
    *((RIGHT_WRIST, i, "head") for i in range(RIGHT_HAND.start, RIGHT_HAND.stop)),
)
_GROUND: Final = (RIGHT_ANKLE, LEFT_ANKLE, *range(FEET.start, FEET.stop))
# Typical of a bone over the clip: above the median, since pointing at the camera shortens it.
_TYPICAL = 2 / 3
# People of one size differ by less in any limb; beyond, the limb points at the camera in the
# reference, which then says nothing about its length.
_SHORTEST, _LONGEST = 0.6, 1.6
# The ground is where the lowest foot is in the lowest twentieth of the frames.
_ON_THE_GROUND = 0.95


def transfer_limbs(placed: Array, scores: Array, goal_points: Array, joints: Array) -> Array:
    """Change limb lengths of an already placed driver (F,134,2) to the reference's (134,2)."""
    driver_points, own_seen = _with_hips(placed, scores)
    goal, goal_seen = _with_hips(goal_points[None], joints[None])
    ratios = limb_ratios(driver_points, own_seen, goal[0], goal_seen[0])
    legs = math.sqrt(ratios.get("thigh", 1.0) * ratios.get("shin", 1.0))
    root = _HIPS if own_seen[:, _HIPS].any() and goal_seen[0, _HIPS] else NECK
    moves = _moves(driver_points, own_seen, ratios, root)
    moves += _root_motion(driver_points[:, root], own_seen[:, root], legs)[:, None]
    moved = placed + moves[:, :POINTS]
    moved[..., 1] += _grounding(placed, moved, scores, goal_points, joints, legs)[:, None]
    return np.asarray(moved)


def limb_ratios(
    driver_points: Array, own_seen: Mask, goal: Array, goal_seen: Mask
) -> dict[str, float]:
    """Reference length over the placed driver's, by group; a group that cannot be measured is left
    out. Points are (F,135,2) and (135,2), the last one the middle of the hips."""
    lengths: dict[str, list[tuple[float, float]]] = {}
    for parent, child, group in _BONES:
        together = own_seen[:, parent] & own_seen[:, child]
        if not (together.any() and goal_seen[parent] and goal_seen[child]):
            continue
        bone = np.linalg.norm(
            driver_points[together, child] - driver_points[together, parent], axis=1
        )
        length = float(np.linalg.norm(goal[child] - goal[parent]))
        lengths.setdefault(group, []).append((length, float(np.quantile(bone, _TYPICAL))))
    ratios = {}
    for group, pairs in lengths.items():
        theirs, ours = np.array(pairs).T
        # Foreshortening only ever shortens: of two sides the longer one tells the length. A face
        # has many short bones, whose sum is steadier.
        if len(pairs) > 2:
            ratio = theirs.sum() / max(ours.sum(), 1e-9)
        else:
            ratio = theirs.max() / max(ours.max(), 1e-9)
        if _SHORTEST <= ratio <= _LONGEST:
            ratios[group] = float(ratio)
    return ratios


def _moves(driver_points: Array, seen: Mask, ratios: dict[str, float], root: int) -> Array:
    """Moves of every point (F,135,2) when bones change length and the root stays.

    A bone with an unseen end changes nothing: what hangs on it moves with its parent.
    """
    moves = np.zeros_like(driver_points)
    bones = [*_BONES, *_FOLLOWERS]
    if root == NECK:
        bones[0] = (NECK, _HIPS, "trunk")
    for parent, child, group in _outwards(bones, root):
        both = seen[:, parent] & seen[:, child]
        stretch = np.where(both, ratios.get(group, 1.0) - 1, 0.0)
        moves[:, child] = moves[:, parent] + stretch[:, None] * (
            driver_points[:, child] - driver_points[:, parent]
        )
    return moves


def _outwards(bones: list[tuple[int, int, str]], root: int) -> list[tuple[int, int, str]]:
    """Bones in an order in which every parent is placed before its children."""
    ordered, reached, left = [], {root}, bones
    while left:
        next_bones = [bone for bone in left if bone[0] in reached]
        ordered += next_bones
        reached |= {child for _, child, _ in next_bones}
        left = [bone for bone in left if bone not in next_bones]
    return ordered


def _root_motion(root: Array, seen: Mask, legs: float) -> Array:
    """Longer legs make longer steps: the root's path (F,2) about its middle, by the legs' ratio.

    Without it a planted foot would slide.
    """
    if not seen.any():
        return np.zeros_like(root)
    path = (legs - 1) * (root - np.median(root[seen], axis=0))
    frames = np.arange(len(root))
    return np.stack([np.interp(frames, frames[seen], axis[seen]) for axis in path.T], axis=1)


def _grounding(
    placed: Array, moved: Array, scores: Array, goal_points: Array, joints: Array, legs: float
) -> Array:
    """Vertical shift (F,) that keeps the height of the lowest foot over the ground.

    The ground is the reference's lowest foot, or, where its feet are not seen, where the driver's
    come to be on average.
    """
    shared = [i for i in _GROUND if joints[i] >= SEEN and (scores[:, i] >= SEEN).any()]
    used = shared or [i for i in _GROUND if (scores[:, i] >= SEEN).any()]
    seen = scores[:, used] >= SEEN
    standing = seen.any(axis=1)
    if not standing.any():
        return np.zeros(len(placed))
    before = np.where(seen, placed[:, used, 1], -np.inf).max(axis=1)[standing]
    after = np.where(seen, moved[:, used, 1], -np.inf).max(axis=1)[standing]
    ground = float(goal_points[shared, 1].max()) if shared else float(np.median(after))
    height = before - np.quantile(before, _ON_THE_GROUND)
    frames = np.arange(len(placed))
    return np.interp(frames, frames[standing], ground + legs * height - after)


def _with_hips(points: Array, scores: Array) -> tuple[Array, Mask]:
    """Points (F,135,2) with the middle of the hips, and whether each is seen (F,135)."""
    middle = points[:, [RIGHT_HIP, LEFT_HIP]].mean(axis=1, keepdims=True)
    seen = scores >= SEEN
    both = seen[:, [RIGHT_HIP, LEFT_HIP]].all(axis=1, keepdims=True)
    return np.concatenate([points, middle], axis=1), np.concatenate([seen, both], axis=1)
