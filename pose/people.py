"""The people of a sequence by the names with which a user chooses one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pose.errors import PoseError
from pose.likeness import box
from pose.sequence import PoseSequence


@dataclass(frozen=True, kw_only=True)
class PersonSummary:
    """One person of a sequence, as a preview names them."""

    index: int
    """The person's number, from 0; 0 is the main person."""
    frames: int
    """Frames in which the person can be seen."""
    box: tuple[float, float, float, float]
    """Median left, top, right, bottom in pixels over these frames."""
    side: str
    """"left", "middle" or "right" of the picture, as one sees it; "alone" where nobody else is."""

    @property
    def name(self) -> str:
        """The label that a preview writes beside the person."""
        return f"{self.index} main" if self.index == 0 else f"{self.index} {self.side}"


def summaries(sequence: PoseSequence) -> tuple[PersonSummary, ...]:
    """Everybody in `sequence`, in its order."""
    boxes = []
    for person in range(sequence.people):
        seen = np.flatnonzero(sequence.present[:, person])
        each = [box(sequence.points[i, person], sequence.scores[i, person]) for i in seen]
        boxes.append(np.median(each, axis=0) if each else np.zeros(4))
    centres = [(float(around[0] + around[2])) / 2 for around in boxes]
    return tuple(
        PersonSummary(
            index=person,
            frames=int(sequence.present[:, person].sum()),
            box=(float(b[0]), float(b[1]), float(b[2]), float(b[3])),
            side=_side(person, centres),
        )
        for person, b in enumerate(boxes)
    )


def _side(person: int, centres: Sequence[float]) -> str:
    if len(centres) == 1:
        return "alone"
    order = sorted(range(len(centres)), key=lambda index: (centres[index], index))
    if person == order[0]:
        return "left"
    return "right" if person == order[-1] else "middle"


def choose_person(sequence: PoseSequence, choice: str | int = "main") -> int:
    """The index of the person that `choice` names.

    Args:
        sequence: the main person first, as `pose.extract` gives it.
        choice: "main", "left" or "right" (of the picture, over the whole clip), or a number.

    Raises PoseError where nobody is there, or no such person.
    """
    if sequence.people == 0:
        raise PoseError("these poses hold nobody; choose a video in which a person can be seen")
    text = str(choice).strip().lower()
    if text == "main":
        return 0
    if text in ("left", "right"):
        sides = [summary.side for summary in summaries(sequence)]
        return sides.index(text) if text in sides else 0
    if not text.isdecimal():
        raise PoseError(f"unknown person {choice!r}; choose main, left, right or a number")
    if int(text) >= sequence.people:
        last = sequence.people - 1
        have = f"people are numbered 0 to {last}" if last else "the only one is number 0"
        raise PoseError(f"there is no person {text}; {have}")
    return int(text)
