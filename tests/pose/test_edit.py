"""Corrections by hand: each changes what it names and nothing else, and can be replayed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pose.edit import (
    KINDS,
    Draft,
    Edit,
    Erase,
    Hold,
    Move,
    Smooth,
    Strength,
    SwapPeople,
    SwapSides,
    Tween,
    edit_from_plain,
    edit_to_plain,
)
from pose.errors import PoseError
from pose.layout import (
    BODY,
    FACE,
    FEET,
    LEFT_WRIST,
    MIRROR,
    RIGHT_HAND,
    RIGHT_WRIST,
)
from pose.sequence import PoseSequence
from scripts.benchmarks._dancer import dancer
from scripts.benchmarks.pose_jitter import add_noise, jitter

EXAMPLES: tuple[Edit, ...] = (
    Move(first=4, last=4, points=((LEFT_WRIST, 12.5, 40.0),)),
    Erase(first=2, last=5, joints=(RIGHT_WRIST,)),
    Hold(first=3, last=6),
    SwapSides(first=3, last=6),
    SwapPeople(first=5, last=11, with_person=1),
    Tween(first=2, last=8, joints=(LEFT_WRIST,)),
    Tween(first=2, last=8, motion=True),
    Smooth(first=3, last=7),
    Strength(first=2, last=9, hands=0.5, face=0.0),
)


def couple(frames: int = 12) -> PoseSequence:
    one = add_noise(dancer(frames), seed=1)
    points = np.concatenate([one.points, one.points + 30], axis=1)
    return replace(one, points=points, scores=np.concatenate([one.scores, one.scores], axis=1))


@pytest.mark.parametrize("edit", EXAMPLES, ids=lambda edit: edit.kind)
def test_an_edit_changes_its_frames_and_its_people_alone(edit: Edit) -> None:
    base = couple()
    draft = Draft(base, [Move(first=8, last=8, points=((LEFT_WRIST, 90.0, 70.0),))])
    points, scores = draft.points.copy(), draft.scores.copy()
    assert draft.apply(edit) == (edit.first, edit.last + 1)
    changed = (draft.points != points).any(axis=(2, 3))
    changed |= (draft.scores != scores).any(axis=2)
    assert changed.any()
    frames = np.flatnonzero(changed.any(axis=1))
    assert edit.first <= frames.min()
    assert frames.max() <= edit.last
    if not isinstance(edit, SwapPeople):
        assert not changed[:, 1].any()
    assert draft.base is base
    assert draft.sequence.fps == base.fps


@pytest.mark.parametrize("edit", EXAMPLES, ids=lambda edit: edit.kind)
def test_an_edit_survives_json(edit: Edit) -> None:
    assert edit_from_plain(edit_to_plain(edit)) == edit


def test_every_kind_has_an_example() -> None:
    assert {edit.kind for edit in EXAMPLES} == set(KINDS)


def test_replaying_a_list_gives_the_same_bits() -> None:
    base = couple()
    draft = Draft(base)
    for edit in EXAMPLES:
        draft.apply(edit)
    assert Draft(base, EXAMPLES).sequence.digest == draft.sequence.digest
    assert Draft(base, EXAMPLES[:1]).sequence.digest != draft.sequence.digest


def test_a_moved_point_that_was_not_seen_is_seen() -> None:
    base = couple()
    draft = Draft(base, [Erase(first=4, last=4)])
    draft.apply(Move(first=4, last=4, points=((7, 5.0, 6.0), (6, 1.0, 2.0))))
    assert draft.scores[4, 0, [6, 7]].tolist() == [1, 1]
    assert draft.points[4, 0, 7].tolist() == [5, 6]


def test_sides_exchanged_twice_are_as_before() -> None:
    base = couple()
    swap = SwapSides(first=0, last=11)
    np.testing.assert_array_equal(Draft(base, [swap]).points[:, 0], base.points[:, 0][:, MIRROR])
    assert Draft(base, [swap, swap]).sequence.digest == base.digest


def test_points_between_two_frames_lie_on_their_line() -> None:
    base = couple()
    move = Move(first=8, last=8, points=((LEFT_WRIST, 100.0, 60.0),))
    draft = Draft(base, [move, Tween(first=2, last=8, joints=(LEFT_WRIST,))])
    line = np.linspace(base.points[2, 0, LEFT_WRIST], (100, 60), 7)
    np.testing.assert_allclose(draft.points[2:9, 0, LEFT_WRIST], line, atol=1e-3)


def test_spread_corrections_keep_the_motion_between_them() -> None:
    base = couple()
    x, y = (base.points[8, 0, LEFT_WRIST] + 6).tolist()
    move = Move(first=8, last=8, points=((LEFT_WRIST, x, y),))
    draft = Draft(base, [move, Tween(first=2, last=8, motion=True)])
    offsets = (draft.points - base.points)[2:9, 0, LEFT_WRIST, 0]
    np.testing.assert_allclose(offsets, np.arange(7), atol=1e-3)


def test_smoothing_a_range_calms_it_and_joins_its_neighbours() -> None:
    base = add_noise(dancer(60), seed=3)
    draft = Draft(base, [Smooth(first=20, last=39)])
    inside = np.zeros_like(base.scores, dtype=bool)
    inside[22:38] = True
    assert jitter(draft.sequence, inside) < 0.6 * jitter(base, inside)
    reached = Draft(base, [Smooth(first=0, last=59)])
    np.testing.assert_allclose(draft.points[20:40], reached.points[20:40], atol=1e-3)


def test_smoothing_stays_within_shots() -> None:
    base = replace(add_noise(dancer(20), seed=3), cuts=(10,))
    moved = Draft(base, [Move(first=10, last=10, points=((LEFT_WRIST, 0.0, 0.0),))]).sequence
    smooth = Smooth(first=5, last=9)
    np.testing.assert_array_equal(
        Draft(base, [smooth]).points[5:10], Draft(moved, [smooth]).points[5:10]
    )


def test_strength_weighs_scores_by_part() -> None:
    base = couple()
    draft = Draft(base, [Strength(first=0, last=11, body=0.5, hands=0.0, face=2.0)])
    scores = base.scores[:, 0]
    np.testing.assert_allclose(draft.scores[:, 0, BODY], scores[:, BODY] * 0.5)
    np.testing.assert_allclose(draft.scores[:, 0, FEET], scores[:, FEET] * 0.5)
    assert not draft.scores[:, 0, RIGHT_HAND].any()
    np.testing.assert_allclose(draft.scores[:, 0, FACE], np.clip(scores[:, FACE] * 2, 0, 1))


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (Hold(first=3, last=12), "not among 0 to 11"),
        (Hold(first=5, last=3), "frames 5 to 3"),
        (Hold(first=-1, last=3), "frames -1"),
        (Hold(first=0, last=3, person=2), "no person 2"),
        (SwapPeople(first=0, last=3, with_person=7), "no person 7"),
        (Move(first=0, last=1, points=()), "one frame"),
        (Move(first=0, last=0, points=((134, 0.0, 0.0),)), "no point 134"),
        (Move(first=0, last=0, points=((0, 1e9, 0.0),)), "far off"),
        (Erase(first=0, last=0, joints=(-1,)), "no point -1"),
        (Tween(first=0, last=1), "nothing lies between"),
        (Smooth(first=0, last=1, seconds=0), "out of range"),
        (Strength(first=0, last=1, face=-1), "strength face"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(edit: Edit, fault: str) -> None:
    base = couple()
    draft = Draft(base)
    with pytest.raises(PoseError, match=fault):
        draft.apply(edit)
    assert draft.sequence.digest == base.digest


@pytest.mark.parametrize(
    "values",
    [
        None,
        {"kind": "explode"},
        {"kind": "hold"},
        {"kind": "hold", "first": "1", "last": 2},
        {"kind": "hold", "first": True, "last": 2},
        {"kind": "hold", "first": 1.5, "last": 2},
        {"kind": "hold", "first": 1, "last": 2, "extra": 1},
        {"kind": "smooth", "first": 1, "last": 2, "seconds": float("nan")},
        {"kind": "move", "first": 1, "last": 1, "points": [[1, 2]]},
        {"kind": "move", "first": 1, "last": 1, "points": 4},
        {"kind": "tween", "first": 1, "last": 5, "motion": 1},
    ],
)
def test_plain_values_that_are_no_edit_are_refused(values: object) -> None:
    with pytest.raises(PoseError):
        edit_from_plain(values)
