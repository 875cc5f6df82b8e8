"""A sequence in numbers and in words, for its user."""

from __future__ import annotations

import numpy as np

from pose.layout import PARTS, SEEN
from pose.sequence import PoseSequence


def absences(sequence: PoseSequence, person: int) -> tuple[tuple[int, int], ...]:
    """(start, stop) of every stretch of frames without the person, in order."""
    absent = np.concatenate([[False], ~sequence.present[:, person], [False]])
    edges = np.flatnonzero(np.diff(absent.astype(np.int8)))
    return tuple((int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True))


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun: `1 person`, `2 people`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def describe(sequence: PoseSequence) -> tuple[str, ...]:
    """Lines for a terminal: the clip, then each person's presence, gaps and seen parts."""
    width, height = sequence.canvas
    lines = [
        f"{counted(sequence.frames, 'frame')} of {width}x{height} at {float(sequence.fps):g} "
        "frames a second, "
        f"{counted(sequence.people, 'person', 'people')}, {counted(len(sequence.cuts), 'cut')}"
    ]
    empty = int((~sequence.present.any(axis=1)).sum())
    if empty:
        lines.append(f"nobody is seen in {empty} of {sequence.frames} frames; they stay empty")
    lines += [_person(sequence, person) for person in range(sequence.people)]
    return tuple(lines)


def _person(sequence: PoseSequence, person: int) -> str:
    gaps = absences(sequence, person)
    present = sequence.present[:, person]
    text = f"person {person}: in {int(present.sum())} of {sequence.frames} frames"
    if gaps:
        longest = max(gaps, key=lambda gap: gap[1] - gap[0])
        frames = counted(longest[1] - longest[0], "frame")
        text += f", {counted(len(gaps), 'gap')}, the longest {frames} from frame {longest[0]}"
    if present.any():
        scores = sequence.scores[present, person]
        seen = [f"{name} {(scores[:, part] >= SEEN).mean():.0%}" for name, part in PARTS.items()]
        text += "; seen: " + ", ".join(seen)
    return text
