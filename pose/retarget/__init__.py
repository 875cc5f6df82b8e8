"""Lay the driving person's motion onto the person of the reference picture.

Modes, from the simplest: `none` fits the driving picture into the reference's; `affine` is the
published least-squares fit of one scale and one shift; `robust`, the default, is the same model
found from body proportions, so that outliers, unseen joints and half bodies do not bend it;
`limbs` gives every limb the reference's length, keeps its angle, and keeps the feet on the ground.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from pose.arrays import Array
from pose.errors import PoseError
from pose.kinds import RetargetMode
from pose.layout import BODY, SEEN
from pose.retarget.affine import affine_parts, fit_affine
from pose.retarget.limbs import transfer_limbs
from pose.retarget.match import compare
from pose.retarget.robust import Framing, framings
from pose.retarget.similarity import Similarity
from pose.sequence import PoseSequence

__all__ = ["MODES", "Retargeted", "Similarity", "affine_parts", "retarget"]


MODES: tuple[RetargetMode, ...] = get_args(RetargetMode)


@dataclass(frozen=True, kw_only=True)
class Retargeted:
    """Motion on the reference's canvas, and how well the two people match."""

    sequence: PoseSequence
    """The driving frames, one person (with `none`: all people), on the reference's canvas."""
    mode: str
    """The mode that was used."""
    scale: float
    """Reference pixels per driving pixel, of the longest stretch where the driver's framing
    changes."""
    mismatch: float
    """From 0, where the driver comes through the reference's own pose, to 1, where the two show
    nothing in common: see `pose.retarget.match`."""
    warnings: tuple[str, ...]
    """Expected faults and the way out, a clause each."""


def retarget(driving: PoseSequence, reference: PoseSequence, mode: str = "robust") -> Retargeted:
    """Place the driving person on the reference's person.

    Both use their first person; `reference` is the pose of the picture, its first frame. Frames
    without the driver stay without. Raises `PoseError` for an unknown mode, or when no person is
    seen in the reference or anywhere in the driving frames (`none` asks for neither).
    """
    if mode not in MODES:
        raise PoseError(f"unknown retargeting mode {mode!r}; choose {', '.join(MODES)}")
    if mode == "none":
        return _fitted_into(driving, reference)
    _check_people(driving, reference)
    goal_points, joints = _person(reference)
    points, scores = _person(driving)
    fits = (_affine if mode == "affine" else framings)(driving, points, scores, reference)
    placed, moved = points.copy(), points.copy()
    for frames, fit in fits:
        placed[frames] = moved[frames] = fit(points[frames])
        if mode == "limbs":
            moved[frames] = transfer_limbs(
                placed[frames], scores[frames], goal_points[0], joints[0]
            )
    match = compare(moved, placed, scores, goal_points[0], joints[0], reference.canvas)
    sequence = replace(
        driving.person(0), points=moved[:, None].astype(np.float32), canvas=reference.canvas
    )
    return Retargeted(
        sequence=sequence,
        mode=mode,
        scale=max(fits, key=lambda framing: len(framing[0]))[1].scale,
        mismatch=match.mismatch,
        warnings=(*_surplus_people(driving, reference), *match.warnings),
    )


def _affine(
    driving: PoseSequence, points: Array, scores: Array, reference: PoseSequence
) -> list[Framing]:
    # The published fit takes the frames that show exactly one person. Where there is none it fails;
    # every frame that shows the main person serves here instead.
    alone = driving.present[:, 0] & (driving.present.sum(axis=1) == 1)
    used = alone if alone.any() else driving.present[:, 0]
    goal_points, joints = _person(reference)
    fit = fit_affine(
        points[used][:, BODY], scores[used][:, BODY], goal_points[0, BODY], joints[0, BODY]
    )
    return [(np.arange(len(points)), fit)]


def _person(sequence: PoseSequence) -> tuple[Array, Array]:
    """Points (F,134,2) and scores (F,134) of the first person, in double precision."""
    return sequence.points[:, 0].astype(np.float64), sequence.scores[:, 0].astype(np.float64)


def _fitted_into(driving: PoseSequence, reference: PoseSequence) -> Retargeted:
    """The whole driving picture, in the middle of the reference's canvas, undistorted."""
    width, height = reference.canvas
    own_width, own_height = driving.canvas
    scale = min(width / own_width, height / own_height)
    shift = ((width - own_width * scale) / 2, (height - own_height * scale) / 2)
    similarity = Similarity(scale=scale, shift=shift)
    points = similarity(driving.points.astype(np.float64))
    mismatch = 1.0
    warnings: tuple[str, ...] = ("nobody was compared with the reference's person",)
    if driving.people and reference.people and reference.present[0, 0]:
        goal_points, joints = _person(reference)
        scores = driving.scores[:, 0].astype(np.float64)
        driver_points = points[:, 0]
        match = compare(
            driver_points, driver_points, scores, goal_points[0], joints[0], reference.canvas
        )
        mismatch, warnings = match.mismatch, match.warnings
    sequence = replace(driving, points=points.astype(np.float32), canvas=reference.canvas)
    return Retargeted(
        sequence=sequence, mode="none", scale=scale, mismatch=mismatch, warnings=warnings
    )


def _check_people(driving: PoseSequence, reference: PoseSequence) -> None:
    if reference.people == 0 or not (reference.scores[0, 0, BODY] >= SEEN).any():
        raise PoseError(
            "no person is seen in the reference picture, so there is nobody to lay the motion "
            "onto; choose a picture with a clearly seen person, or retarget with mode none"
        )
    if driving.people == 0 or not driving.present[:, 0].any():
        raise PoseError(
            "no person is seen in any driving frame; choose a video with a clearly seen person"
        )


def _surplus_people(driving: PoseSequence, reference: PoseSequence) -> tuple[str, ...]:
    counts = (("driving video", driving.people), ("reference picture", reference.people))
    return tuple(
        f"the {name} holds {people} people; the main one is used and the others are left out"
        for name, people in counts
        if people > 1
    )
