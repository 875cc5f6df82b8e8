"""Marks of a sequence: what somebody should look at, where it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pose.edit import Draft, Erase, SwapSides
from pose.marks import Mark, find_marks
from pose.sequence import PoseSequence
from scripts.benchmarks._dancer import dancer


def kinds(sequence: PoseSequence) -> set[str]:
    return {mark.kind for mark in find_marks(sequence)}


def test_a_clean_sequence_has_no_mark() -> None:
    assert find_marks(dancer(40)) == ()


def test_gaps_and_cuts_are_marked_with_their_frames() -> None:
    base = replace(dancer(40), cuts=(25,))
    gone = Draft(base, [Erase(first=10, last=14)]).sequence
    assert Mark(kind="cut", first=25, last=25) in find_marks(gone)
    assert Mark(kind="gap", first=10, last=14, person=0) in find_marks(gone)


def test_exchanged_sides_are_marked() -> None:
    flipped = Draft(dancer(40), [SwapSides(first=20, last=22)]).sequence
    assert Mark(kind="flip", first=20, last=22, person=0) in find_marks(flipped)


def test_doubtful_frames_are_marked() -> None:
    base = dancer(40)
    scores = base.scores.copy()
    scores[5:8] = 0.4
    assert Mark(kind="weak", first=5, last=7, person=0) in find_marks(replace(base, scores=scores))


def test_a_body_that_jumps_is_marked_and_a_cut_is_no_jump() -> None:
    base = dancer(40)
    points = base.points.copy()
    points[20:] += np.float32(2 * base.canvas[1])
    assert Mark(kind="jump", first=20, last=20, person=0) in find_marks(
        replace(base, points=points)
    )
    assert "jump" not in kinds(replace(base, points=points, cuts=(20,)))


def test_people_who_cover_each_other_are_marked() -> None:
    one = dancer(30)
    away = np.where(np.abs(np.arange(30) - 15) < 3, 1.0, 4 * one.canvas[0])
    second = one.points + away[:, None, None, None].astype(np.float32)
    pair = replace(
        one,
        points=np.concatenate([one.points, second], axis=1),
        scores=np.concatenate([one.scores, one.scores], axis=1),
    )
    assert Mark(kind="meet", first=13, last=17, person=1) in find_marks(pair)
