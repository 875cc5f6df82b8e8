"""Fusing: a weighted mean per frame, whatever the layout."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from temporal.errors import TemporalError
from temporal.fuse import fuse, plan_tables, step_tables
from temporal.published import published_plan
from temporal.slot_weights import WEIGHTS
from temporal.windows import SCHEDULES, plan_windows


def cut(clip: torch.Tensor, windows) -> list[torch.Tensor]:
    return [clip[:, list(window.frames)] for window in windows]


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(2, 12).flatmap(lambda w: st.tuples(st.just(w), st.integers(0, w - 2))),
    st.sampled_from(SCHEDULES),
    st.sampled_from(WEIGHTS),
)
def test_windows_cut_from_a_clip_fuse_to_that_clip(frames, sizes, schedule, weights):
    window, overlap = sizes
    plan = plan_windows(
        frames, window=window, overlap=overlap, steps=3, schedule=schedule, weights=weights
    )
    clip = torch.randn(2, frames, 1, 2, 2, generator=torch.Generator().manual_seed(frames))
    for step in range(3):
        windows = plan.at(step)
        fused = fuse(cut(clip, windows), windows, frames, dtype=torch.float32)
        torch.testing.assert_close(fused, clip, rtol=0, atol=1e-6)


def test_a_frame_that_one_window_covers_keeps_its_bits():
    plan = plan_windows(10, window=6, overlap=2, steps=1, weights="triangular")
    clip = torch.randn(1, 10, 4, 3, 3)
    fused = fuse(cut(clip, plan.at(0)), plan.at(0), 10, dtype=torch.float32)
    alone = [0, 1, 2, 3, 6, 7, 8, 9]
    assert torch.equal(fused[:, alone], clip[:, alone])


def test_shared_frames_are_weighted():
    plan = plan_windows(10, window=6, overlap=2, steps=1)
    ones = [torch.zeros(1, 6, 1, 1, 1), torch.ones(1, 6, 1, 1, 1)]
    fused = fuse(ones, plan.at(0), 10, dtype=torch.float32).flatten()
    expected = torch.tensor([0, 0, 0, 0, 1 / 3, 2 / 3, 1, 1, 1, 1])
    torch.testing.assert_close(fused, expected)


def test_each_weighting_gives_another_clip():
    predictions = [
        torch.randn(1, 6, 1, 2, 2, generator=torch.Generator().manual_seed(i)) for i in range(2)
    ]
    made = []
    for name in WEIGHTS:
        plan = plan_windows(9, window=6, overlap=3, steps=1, weights=name)
        made.append(fuse(predictions, plan.at(0), 9, dtype=torch.float32))
    for place, one in enumerate(made):
        assert not any(torch.allclose(one, other, atol=1e-4) for other in made[place + 1 :])


def test_half_precision_predictions_are_summed_in_full():
    plan = plan_windows(10, window=6, overlap=5, steps=1)
    clip = torch.randn(1, 10, 1, 2, 2).half()
    fused = fuse(cut(clip, plan.at(0)), plan.at(0), 10, dtype=torch.float16)
    assert fused.dtype == torch.float16
    torch.testing.assert_close(fused, clip, rtol=0, atol=2e-3)


def test_tables_follow_the_plan():
    plan = published_plan("controlnext-v2", 60, window=24, overlap=6, steps=3)
    (tables,) = plan_tables(plan, "cpu")
    assert tables.frames[1].tolist() == list(plan.at(0)[1].frames)
    assert tables.control[1, :2].tolist() == [0, 19]
    assert tables.shares[1, 0] == 0
    sums = torch.zeros(60).index_add_(0, tables.frames.flatten(), tables.shares.flatten())
    torch.testing.assert_close(sums, torch.ones(60))


def test_predictions_that_do_not_fit_are_refused():
    windows = plan_windows(10, window=6, overlap=2, steps=1).at(0)
    right = torch.zeros(1, 6, 1, 1, 1)
    for wrong in ([right], [right] * 3, [right, right[:, :5]], []):
        with pytest.raises(TemporalError):
            fuse(wrong, windows, 10, dtype=torch.float32)
    with pytest.raises(TemporalError, match="frame 10"):
        step_tables(windows, 11, "cpu")
