"""Fusing weights: positive, symmetric where they should be, and summing as meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporal.slot_weights import WEIGHTS, slot_weights, triangular
from temporal.windows import plan_windows


@given(st.sampled_from(WEIGHTS), st.integers(1, 64), st.integers(0, 63), st.integers(0, 63))
def test_positive_and_at_most_one(name, size, left, right):
    weights = slot_weights(name, size, left=min(left, size - 1), right=min(right, size - 1))
    assert len(weights) == size
    assert all(0 < weight <= 1 for weight in weights)
    mirrored = slot_weights(name, size, left=min(right, size - 1), right=min(left, size - 1))
    assert weights == pytest.approx(mirrored[::-1])


def test_overlap_linear_is_a_cross_fade_that_sums_to_one():
    first, second = plan_windows(10, window=6, overlap=2, steps=1).at(0)
    assert first.weights == pytest.approx((1, 1, 1, 1, 2 / 3, 1 / 3))
    assert second.weights == pytest.approx((1 / 3, 2 / 3, 1, 1, 1, 1))


def test_overlap_linear_fades_over_what_is_really_shared():
    # The tail is moved back: five frames are shared where two were asked for.
    first, second = plan_windows(7, window=6, overlap=2, steps=1).at(0)
    both = [a + b for a, b in zip(first.weights[1:], second.weights[:-1], strict=True)]
    assert both == pytest.approx([1.0] * 5)


def test_triangular_is_the_published_one():
    assert triangular(4) == (0.25, 0.75, 0.75, 0.25)
    assert slot_weights("triangular", 4, left=1, right=3) == triangular(4)


def test_relative_falls_to_almost_nothing():
    assert slot_weights("relative", 5, left=0, right=0) == (0.01, 0.5, 1.0, 0.5, 0.01)
    assert slot_weights("relative", 1, left=0, right=0) == (1.0,)


def test_all_differ():
    made = {slot_weights(name, 8, left=2, right=2) for name in WEIGHTS}
    assert len(made) == len(WEIGHTS)
