"""Window plans: coverage for every length, shape of each schedule, bad settings."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from temporal.errors import TemporalError
from temporal.slot_weights import WEIGHTS
from temporal.windows import SCHEDULES, Window, WindowPlan, plan_windows, uncovered


@st.composite
def asked(draw: st.DrawFn) -> dict:
    window = draw(st.integers(1, 30))
    return {
        "frames": draw(st.integers(1, 200)),
        "window": window,
        "overlap": draw(st.integers(0, window - 1)),
        "steps": draw(st.integers(1, 40)),
        "schedule": draw(st.sampled_from(SCHEDULES)),
        "weights": draw(st.sampled_from(WEIGHTS)),
    }


def impossible(kwargs: dict) -> bool:
    one_window = kwargs["window"] >= kwargs["frames"]
    return (
        kwargs["schedule"] == "anchored"
        and not one_window
        and (kwargs["overlap"] >= kwargs["window"] - 1)
    )


@settings(max_examples=800, deadline=None)
@given(asked())
def test_every_frame_has_weight_at_every_step(kwargs):
    if impossible(kwargs):
        with pytest.raises(TemporalError, match="anchor"):
            plan_windows(**kwargs)
        return
    plan = plan_windows(**kwargs)
    size = min(kwargs["window"], kwargs["frames"])
    for step in range(plan.steps):
        windows = plan.at(step)
        assert uncovered(windows, plan.frames) == ()
        for window in windows:
            assert len(window.frames) == size
            assert window.control == window.frames
            assert 0 <= min(window.frames) <= max(window.frames) < plan.frames
            if plan.schedule == "anchored":
                assert window.frames[0] == 0
            else:
                assert window.frames == tuple(range(window.frames[0], window.frames[0] + size))


@settings(max_examples=500, deadline=None)
@given(asked().filter(lambda kwargs: not impossible(kwargs)))
def test_neighbours_share_at_least_the_overlap(kwargs):
    plan = plan_windows(**kwargs)
    for step in range(min(plan.steps, 5)):
        windows = plan.at(step)
        for before, after in pairwise(windows):
            shared = set(before.frames) & set(after.frames)
            if plan.schedule == "anchored":
                shared -= {0}
            assert len(shared) >= plan.overlap


def test_static_moves_the_last_window_back():
    plan = plan_windows(25, window=24, overlap=6, steps=3)
    assert [w.frames[0] for w in plan.at(0)] == [0, 1]
    assert plan.at(0) == plan.at(2)
    assert plan.calls == 6


def test_anchored_looks_at_frame_0_and_takes_it_from_the_first_window():
    plan = plan_windows(20, window=8, overlap=2, steps=1, schedule="anchored")
    assert [w.frames[:2] for w in plan.at(0)] == [(0, 1), (0, 6), (0, 11), (0, 13)]
    assert [w.weights[0] > 0 for w in plan.at(0)] == [True, False, False, False]


def test_shifting_puts_the_borders_elsewhere_at_every_step():
    plan = plan_windows(133, window=24, overlap=6, steps=18, schedule="shifting")
    inner = [{w.frames[0] for w in plan.at(step)} - {0, 109} for step in range(18)]
    for place, first in enumerate(inner):
        assert all(not first & other for other in inner[place + 1 :])
    # The grid may need one window more than the static one, never two.
    static = len(plan_windows(133, window=24, overlap=6, steps=1).at(0))
    assert {len(plan.at(step)) - static for step in range(18)} <= {-1, 0, 1}


def test_a_window_longer_than_the_clip_is_clamped_and_said():
    for schedule in SCHEDULES:
        plan = plan_windows(9, window=14, overlap=4, steps=5, schedule=schedule)
        assert plan.window == 9
        assert [w.frames for w in plan.at(4)] == [tuple(range(9))]
        assert plan.notes == ("the window of 14 frames is longer than the clip: 9 used",)
    assert plan_windows(14, window=14, overlap=4, steps=5).notes == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"overlap": 8}, "largest overlap for it is 7"),
        ({"overlap": 99}, "largest overlap for it is 7"),
        ({"overlap": -1}, "smallest is 0"),
        ({"frames": 0}, "shortest has 1"),
        ({"window": 0}, "smallest is 1"),
        ({"steps": 0}, "fewest is 1"),
        ({"schedule": "spiral"}, "static, anchored, shifting"),
        ({"weights": "heavy"}, "flat, triangular, overlap-linear, relative"),
        ({"schedule": "anchored", "overlap": 7}, "largest overlap for it .* is 6"),
        ({"schedule": "anchored", "overlap": 0, "window": 1}, "anchored schedule is 2"),
    ],
)
def test_bad_settings_name_the_nearest_that_works(change, message):
    with pytest.raises(TemporalError, match=message):
        plan_windows(**({"frames": 40, "window": 8, "overlap": 2, "steps": 4} | change))


def test_a_plan_with_a_hole_cannot_be_made():
    hole = (Window(frames=(0, 1), weights=(1.0, 0.0)), Window(frames=(2, 3), weights=(1.0, 1.0)))
    made = {"frames": 4, "window": 2, "overlap": 0, "schedule": "by hand", "weights": "by hand"}
    with pytest.raises(TemporalError, match=r"step 0: no window contributes to frames \(1,\)"):
        WindowPlan(steps=1, cycle=(hole,), **made)
    with pytest.raises(TemporalError, match="does not fit"):
        WindowPlan(steps=1, cycle=((Window(frames=(0, 4), weights=(1.0, 1.0)),),), **made)
    with pytest.raises(TemporalError, match="at least one step"):
        WindowPlan(steps=1, cycle=(), **made)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"frames": (0, 0), "weights": (1.0, 1.0)},
        {"frames": (0, -1), "weights": (1.0, 1.0)},
        {"frames": (0, 1), "weights": (1.0,)},
        {"frames": (0, 1), "weights": (1.0, -1.0)},
        {"frames": (0, 1), "weights": (1.0, float("nan"))},
        {"frames": (0, 1), "weights": (1.0, 1.0), "control": (0,)},
    ],
)
def test_a_window_is_checked(kwargs):
    with pytest.raises(TemporalError):
        Window(**kwargs)


def test_steps_outside_the_plan_are_refused():
    plan = plan_windows(9, window=4, overlap=1, steps=2)
    with pytest.raises(TemporalError, match="2 steps"):
        plan.at(2)
