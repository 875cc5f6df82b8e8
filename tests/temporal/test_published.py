"""Published loops: their windows as listed, and our repair of what they leave out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from temporal.errors import TemporalError
from temporal.published import PUBLISHED, published_plan, published_windows
from temporal.slot_weights import triangular
from temporal.windows import uncovered

LISTED = Path(__file__).parents[1] / "data" / "parity" / "windows.json"
CASES = json.loads(LISTED.read_text())["cases"]
IDS = [f"{case['frames']}-{case['window']}-{case['overlap']}" for case in CASES]


def numbers(case: dict) -> dict:
    return {key: case[key] for key in ("frames", "window", "overlap")}


@pytest.mark.parametrize("case", CASES, ids=IDS)
@pytest.mark.parametrize("name", ["controlnext-v1", "controlnext-v2"])
def test_controlnext_windows_are_the_listed_ones(case, name):
    windows = published_windows(name, **numbers(case))
    listed = case["controlnext"]
    assert [[w.frames[0], w.frames[-1]] for w in windows] == [
        w["frames"] for w in listed["windows"]
    ]
    for window, expected in zip(windows, listed["windows"], strict=True):
        first, last = expected["contributes"]
        assert window.contributes == tuple(range(first, last + 1))
        assert len(set(window.weights) - {0.0}) == 1
    assert list(uncovered(windows, case["frames"])) == listed["uncovered"]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_mimicmotion_windows_are_the_listed_ones(case):
    if "mimicmotion" not in case:
        with pytest.raises(TemporalError, match="the longest is 9"):
            published_windows("mimicmotion", **numbers(case))
        return
    windows = published_windows("mimicmotion", **numbers(case))
    listed = case["mimicmotion"]
    assert [[w.frames[0], w.frames[1], w.frames[-1]] for w in windows] == listed["windows"]
    assert all(w.weights == triangular(len(w.frames)) for w in windows)
    assert list(uncovered(windows, case["frames"])) == listed["uncovered"]


def test_animate_anyone_wraps_round_where_ours_ends_with_the_clip():
    """Windows as the settings of the published loop's vectors list them."""
    kwargs = {"frames": 10, "window": 6, "overlap": 2}
    published = [list(w.frames) for w in published_windows("animate-anyone", **kwargs)]
    assert published == [[0, 1, 2, 3, 4, 5], [4, 5, 6, 7, 8, 9], [8, 9, 0, 1, 2, 3]]
    ours = published_plan("animate-anyone", **kwargs, steps=2).at(1)
    assert [list(w.frames) for w in ours] == published[:2]
    assert all(w.weights == (1.0,) * 6 for w in ours)
    (short,) = published_windows("animate-anyone", frames=4, window=6, overlap=2)
    assert short.frames == (0, 1, 2, 3)


def test_only_v2_shows_the_reference_pose():
    kwargs = {"frames": 60, "window": 24, "overlap": 6}
    assert [w.control[0] for w in published_windows("controlnext-v1", **kwargs)] == [0, 18, 36]
    second = published_windows("controlnext-v2", **kwargs)
    assert [w.control[0] for w in second] == [0, 0, 0]
    assert second[1].control[1:] == second[1].frames[1:]


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name != "animate-anyone"])
def test_our_plan_covers_what_they_leave_out(name):
    plan = published_plan(name, 28, window=14, overlap=0, steps=2)
    assert uncovered(plan.at(1), 28) == ()
    assert "1 frame(s) uncovered, first 14" in plan.notes[0]
    if name != "mimicmotion":
        second = plan.at(0)[1]
        assert (second.frames[0], second.control[0], second.weights[0]) == (14, 14, 1.0)


@pytest.mark.parametrize("case", CASES, ids=IDS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_our_plan_is_theirs_where_theirs_has_no_fault(case, name):
    plan = published_plan(name, **numbers(case), steps=1)
    listed = case.get(name.partition("-")[0])
    if listed and not listed["uncovered"]:
        assert plan.at(0) == published_windows(name, **numbers(case))


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(PUBLISHED),
    st.integers(1, 150),
    st.integers(1, 30).flatmap(lambda w: st.tuples(st.just(w), st.integers(0, w - 1))),
)
def test_every_length_is_covered(name, frames, sizes):
    window, overlap = sizes
    if name == "mimicmotion" and window == 1 and frames > 1:
        with pytest.raises(TemporalError, match="smallest window is 2"):
            published_plan(name, frames, window=window, overlap=overlap, steps=1)
        return
    plan = published_plan(name, frames, window=window, overlap=overlap, steps=1)
    assert uncovered(plan.at(0), frames) == ()
    assert bool(plan.notes) == (
        window > frames
        or bool(uncovered(published_windows(name, frames, window=window, overlap=overlap), frames))
    )


def test_unknown_names_are_refused():
    with pytest.raises(TemporalError, match="controlnext-v1"):
        published_plan("controlnext-v9", 28, window=14, overlap=0, steps=2)
    with pytest.raises(TemporalError, match="largest overlap for it is 13"):
        published_plan("mimicmotion", 28, window=14, overlap=14, steps=2)
