"""Marks on a timeline: stretches of an estimated sequence that somebody should look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from pose.arrays import Mask
from pose.flips import repair_flips
from pose.layout import SEEN
from pose.report import absences
from pose.sequence import PoseSequence
from pose.tracking import box

MarkKind = Literal["cut", "gap", "weak", "flip", "meet", "jump"]
_MAIN = slice(0, 14)
"""Nose, neck and limbs: the points that carry a body."""
_WEAK = 0.5
"""Mean score of a body below which an estimate is doubtful."""
_MEETING = 0.5
"""Part of the smaller of two people's boxes that the other one covers."""
_JUMP = 0.5
"""Part of a person's height that no middle of a body moves in a frame."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A stretch of frames.

    ======  ======================================================================
    cut     a new shot begins
    gap     the person is not seen
    weak    the body is seen, with little confidence
    flip    left and right were most likely taken for each other
    meet    two people cover each other: afterwards they may be exchanged
    jump    the body's middle moves farther than a body can
    ======  ======================================================================
    """

    kind: MarkKind
    first: int
    """First frame."""
    last: int
    """Last frame, included."""
    person: int | None = None
    """The person; None where it is of the picture."""


def find_marks(sequence: PoseSequence) -> tuple[Mark, ...]:
    """All marks of a sequence, by their first frame."""
    marks = [Mark(kind="cut", first=cut, last=cut) for cut in sequence.cuts]
    for person in range(sequence.people):
        for kind, frames in (
            ("weak", _weak(sequence, person)),
            ("flip", _flipped(sequence, person)),
            ("jump", _jumping(sequence, person)),
        ):
            marks += _stretches(frames, kind, person)  # type: ignore[arg-type]
        for start, stop in absences(sequence, person):
            marks.append(Mark(kind="gap", first=start, last=stop - 1, person=person))
    for first in range(sequence.people):
        for second in range(first + 1, sequence.people):
            marks += _stretches(_meeting(sequence, first, second), "meet", second)
    return tuple(sorted(marks, key=lambda mark: (mark.first, mark.last, mark.kind)))


def _stretches(frames: Mask, kind: MarkKind, person: int) -> Iterator[Mark]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], frames.astype(np.int8), [0]])))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        yield Mark(kind=kind, first=int(start), last=int(stop) - 1, person=person)


def _weak(sequence: PoseSequence, person: int) -> Mask:
    mean = sequence.scores[:, person, _MAIN].mean(axis=1)
    return np.asarray(sequence.present[:, person] & (mean < _WEAK))


def _flipped(sequence: PoseSequence, person: int) -> Mask:
    flipped = np.zeros(sequence.frames, bool)
    for start, stop in sequence.shots:
        points = sequence.points[start:stop, person].astype(np.float64)
        scores = sequence.scores[start:stop, person].astype(np.float64)
        repaired, _ = repair_flips(points, scores)
        flipped[start:stop] = (repaired != points).any(axis=(1, 2))
    return flipped


def _jumping(sequence: PoseSequence, person: int) -> Mask:
    jumping = np.zeros(sequence.frames, bool)
    present = np.flatnonzero(sequence.present[:, person])
    for earlier, frame in pairwise(present):
        if frame - earlier > 1 or frame in sequence.cuts:
            continue
        middles = []
        for index in (earlier, frame):
            seen = sequence.scores[index, person, _MAIN] >= SEEN
            middles.append(np.median(sequence.points[index, person, _MAIN][seen], axis=0))
        around = box(sequence.points[frame, person], sequence.scores[frame, person])
        height = max(float(around[3] - around[1]), 1.0)
        jumping[frame] = np.hypot(*(middles[1] - middles[0])) > _JUMP * height
    return jumping


def _meeting(sequence: PoseSequence, first: int, second: int) -> Mask:
    meeting = np.zeros(sequence.frames, bool)
    for frame in np.flatnonzero(sequence.present[:, first] & sequence.present[:, second]):
        a, b = (
            box(sequence.points[frame, person], sequence.scores[frame, person])
            for person in (first, second)
        )
        sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
        smaller = min(float(np.prod(a[2:] - a[:2])), float(np.prod(b[2:] - b[:2])))
        if (sides > 0).all() and smaller > 0:
            meeting[frame] = np.prod(sides) > _MEETING * smaller
    return meeting
