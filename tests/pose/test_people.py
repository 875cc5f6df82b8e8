"""The names by which a user chooses a person."""

from __future__ import annotations

import pytest

from pose.errors import PoseError
from pose.people import choose_person, summaries
from tests.pose.test_tracking import frame, person, tracked


def test_choices_by_place_and_number():
    frames = [frame(person(400), person(650, height=300), person(150, height=250))] * 4
    sequence = tracked(frames)
    place = {summary.index: summary.side for summary in summaries(sequence)}
    assert place == {0: "middle", 1: "right", 2: "left"}
    assert [choose_person(sequence, c) for c in ("main", "left", "right", 1, "2", " Main ")] == [
        0, 2, 1, 1, 2, 0,
    ]  # fmt: skip
    assert [summary.name for summary in summaries(sequence)] == ["0 main", "1 right", "2 left"]
    assert all(summary.frames == 4 for summary in summaries(sequence))
    left, top, right, bottom = summaries(sequence)[0].box
    assert left < 400 < right
    assert 80 < top < bottom < 480
    for wrong, message in (("3", "0 to 2"), ("-1", "unknown"), ("tall", "main, left, right")):
        with pytest.raises(PoseError, match=message):
            choose_person(sequence, wrong)


def test_who_is_alone_is_left_and_right_and_main():
    sequence = tracked([frame(person(400))] * 3)
    assert [choose_person(sequence, c) for c in ("main", "left", "right", 0)] == [0, 0, 0, 0]
    assert summaries(sequence)[0].side == "alone"
    with pytest.raises(PoseError, match="the only one is number 0"):
        choose_person(sequence, "1")
