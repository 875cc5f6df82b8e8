"""The match of a placed driver and the reference: one score, and expected faults in words.

The score joins two things. Pose: how far the placed driver stays from the reference's pose even
where it comes closest (the nearest tenth of the frames), as a part of the trunk's length; arms are
left out, since they wave. Coverage: the share of body joints that only one of the two shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from pose.arrays import Array, Mask
from pose.layout import (
    BODY,
    LEFT_ANKLE,
    LEFT_HIP,
    LEFT_KNEE,
    LEFT_SHOULDER,
    NECK,
    NOSE,
    RIGHT_ANKLE,
    RIGHT_HIP,
    RIGHT_KNEE,
    RIGHT_SHOULDER,
    SEEN,
)  # fmt: skip

_POSTURE: Final = (0, 1, 2, 5, *range(8, 18))
_HIPS: Final = [RIGHT_HIP, LEFT_HIP]
_LEGS: Final = (RIGHT_KNEE, RIGHT_ANKLE, LEFT_KNEE, LEFT_ANKLE)
_SHOULDERS: Final = [RIGHT_SHOULDER, LEFT_SHOULDER]
# Trunk lengths from hips down to ankles: about 1.7 for somebody who stands, about 1 for somebody
# who sits facing the camera. Postures this many times apart are told.
_LEG_DROP = 1.45
# A joint is shown by the driver if it is seen in this share of the frames with a person.
_SHOWN = 0.25
_CLOSEST = 0.1
_OUTSIDE = 0.3
_TURNED = 0.35
# Warn of the figure itself above this.
_POOR = 0.5


@dataclass(frozen=True, kw_only=True)
class Match:
    """The result of a comparison."""

    mismatch: float
    """In [0,1]; 0 is perfect."""
    warnings: tuple[str, ...]
    """Sentences for the user."""


def compare(
    moved: Array,
    placed: Array,
    scores: Array,
    goal_points: Array,
    joints: Array,
    canvas: tuple[int, int],
) -> Match:
    """Compare the driver (F,134,2) with the reference (134,2), both in reference pixels.

    `moved` is the result; `placed` is the driver only scaled and shifted, by whose own limbs the
    posture is told.
    """
    seen = scores[:, BODY] >= SEEN
    there = seen.sum(axis=1) >= 3
    points, driver_points, seen = moved[there][:, BODY], placed[there][:, BODY], seen[there]
    driver_shows = seen.mean(axis=0) >= _SHOWN if len(seen) else np.zeros(18, bool)
    goal_seen = joints[BODY] >= SEEN
    pose = _distance(points, seen, goal_points[BODY], goal_seen)
    either = (driver_shows | goal_seen)[list(_POSTURE)]
    single = (driver_shows ^ goal_seen)[list(_POSTURE)]
    coverage = float(single.sum() / max(1, either.sum()))
    mismatch = 1 - (1 - pose) * (1 - coverage)
    remarks = [
        *_different_parts(driver_shows, goal_seen),
        *_postures(driver_points, seen, goal_points[BODY], goal_seen),
        *_directions(points, seen, goal_points[BODY], goal_seen),
        *_out_of_picture(points, seen, goal_seen, canvas),
    ]
    if mismatch > _POOR and not remarks:
        remarks.append(
            "the driver never comes near the reference's pose; a reference picture in a pose that "
            "occurs in the driving video gives a better clip"
        )
    return Match(mismatch=mismatch, warnings=tuple(remarks))


def _distance(points: Array, seen: Mask, goal_points: Array, goal_seen: Mask) -> float:
    """Mean joint distance in the closest frames, in trunk lengths, at most 1."""
    posture = np.zeros(18, bool)
    posture[list(_POSTURE)] = True
    both = seen & (goal_seen & posture)
    counted = both.sum(axis=1) >= min(3, max(1, int(both.sum(axis=1).max(initial=0))))
    if not counted.any():
        return 1.0
    distance = np.linalg.norm(points - goal_points, axis=2)
    mean = (distance * both).sum(axis=1)[counted] / both.sum(axis=1)[counted]
    return min(1.0, float(np.quantile(mean, _CLOSEST)) / _trunk(goal_points, goal_seen))


def _trunk(goal_points: Array, goal_seen: Mask) -> float:
    """Length of the trunk, or what it would be from the shoulders or the head, in pixels."""
    if goal_seen[NECK] and goal_seen[_HIPS].any():
        hips = goal_points[_HIPS][goal_seen[_HIPS]].mean(axis=0)
        length = float(np.linalg.norm(goal_points[NECK] - hips))
    elif goal_seen[_SHOULDERS].all():
        length = 1.4 * float(
            np.linalg.norm(goal_points[RIGHT_SHOULDER] - goal_points[LEFT_SHOULDER])
        )
    else:
        length = 1.5 * float(np.hypot(*np.ptp(goal_points[goal_seen], axis=0)))
    return max(length, 1.0)


def _different_parts(driver_shows: Mask, goal_seen: Mask) -> list[str]:
    remarks = []
    legs, hips, head = list(_LEGS), _HIPS, [NOSE, 14, 15]
    if driver_shows[legs].any() and not goal_seen[legs].any():
        part = "head and shoulders" if not goal_seen[hips].any() else "upper body"
        remarks.append(
            f"the driver shows the whole body, the reference only its {part}: motion below the "
            "picture's edge will be lost"
        )
    if goal_seen[legs].any() and not driver_shows[legs].any():
        remarks.append(
            "the reference shows legs, the driver does not: they get no motion; use a driving "
            "video that shows the whole body, or crop the reference"
        )
    if goal_seen[head].any() != driver_shows[head].any():
        subject, other = (
            ("reference", "driver") if goal_seen[head].any() else ("driver", "reference")
        )
        remarks.append(f"the {subject} shows a face, the {other} does not")
    if not (driver_shows & goal_seen).any():
        remarks.append("driver and reference show no part of the body in common")
    return remarks


def _postures(points: Array, seen: Mask, goal_points: Array, goal_seen: Mask) -> list[str]:
    drops = [_leg_drop(p, s) for p, s in zip(points, seen, strict=True)]
    known = [drop for drop in drops if drop is not None]
    goal = _leg_drop(goal_points, goal_seen)
    if not known or goal is None:
        return []
    drop = float(np.median(known))
    advice = "use a reference and a driver in the same posture"
    if drop * _LEG_DROP < goal:
        return [f"the driver sits or crouches, the reference stands: {advice}"]
    if goal * _LEG_DROP < drop:
        return [f"the driver stands, the reference sits or crouches: {advice}"]
    return []


def _leg_drop(goal_points: Array, seen: Mask) -> float | None:
    """Height of the hips over ankles (or, doubled, knees), in lengths of the trunk."""
    ankles, knees = [RIGHT_ANKLE, LEFT_ANKLE], [RIGHT_KNEE, LEFT_KNEE]
    if not (seen[NECK] and seen[_HIPS].any()):
        return None
    hips = goal_points[_HIPS][seen[_HIPS]].mean(axis=0)
    trunk = float(np.linalg.norm(hips - goal_points[NECK]))
    if trunk <= 0:
        return None
    for ends, worth in ((ankles, 1), (knees, 2)):
        if seen[ends].any():
            drop = float(goal_points[ends][seen[ends]][:, 1].mean() - hips[1])
            return max(0.05, worth * drop / trunk)
    return None


def _directions(points: Array, seen: Mask, goal_points: Array, goal_seen: Mask) -> list[str]:
    """Facing the camera or not, by which shoulder is on the left, and upright or lying."""
    remarks = []
    facing = seen[:, _SHOULDERS].all(axis=1)
    if facing.any() and goal_seen[_SHOULDERS].all():
        trunk = _trunk(goal_points, goal_seen)
        width = points[facing][:, LEFT_SHOULDER, 0] - points[facing][:, RIGHT_SHOULDER, 0]
        mine = float(np.median(width)) / trunk
        other = float(goal_points[LEFT_SHOULDER, 0] - goal_points[RIGHT_SHOULDER, 0]) / trunk
        if mine * other < 0 and min(abs(mine), abs(other)) > _TURNED:
            subject = "driver" if mine < 0 else "reference"
            remarks.append(f"the {subject} has its back to the camera, the other one faces it")
    hips = seen[:, [NECK, *_HIPS]].all(axis=1)
    if hips.any() and goal_seen[[NECK, *_HIPS]].all():
        upright = np.median(points[hips][:, _HIPS].mean(axis=1) - points[hips][:, NECK], axis=0)
        goal = goal_points[_HIPS].mean(axis=0) - goal_points[NECK]
        cosine = upright @ goal / max(np.linalg.norm(upright) * np.linalg.norm(goal), 1e-9)
        if cosine < 0.5:
            remarks.append("one of the two is upright, the other lies or leans far over")
    return remarks


def _out_of_picture(
    points: Array, seen: Mask, goal_seen: Mask, canvas: tuple[int, int]
) -> list[str]:
    """Joints that the reference shows, driven out of its picture."""
    counted = seen & goal_seen
    if not counted.any():
        return []
    outside = np.any((points < 0) | (points > canvas), axis=2)
    assert isinstance(outside, np.ndarray)
    share = float(outside[counted].mean())
    if share <= _OUTSIDE:
        return []
    return [
        f"{share:.0%} of the motion lies outside the reference picture; use a reference with more "
        "room around the person"
    ]
