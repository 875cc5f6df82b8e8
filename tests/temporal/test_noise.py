"""Noise by frame index: independent of layout, and each kind what it says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from temporal.errors import TemporalError
from temporal.noise import frame_noise

SHAPE = (4, 5, 3)
KINDS = {
    "independent": {},
    "repeated": {"period": 7},
    "shuffled-block": {"period": 8, "stride": 6},
}


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(list(KINDS)),
    st.integers(0, 2**64 - 1),
    st.lists(st.integers(0, 39), min_size=1, max_size=20),
)
def test_any_selection_has_the_bits_of_the_whole(kind, seed, wanted):
    whole = frame_noise(40, SHAPE, seed, kind, **KINDS[kind])
    some = frame_noise(wanted, SHAPE, seed, kind, **KINDS[kind])
    assert torch.equal(some, whole[wanted])


def test_independent_frames_and_seeds_are_unrelated():
    noise = torch.cat([frame_noise(40, SHAPE, seed) for seed in (0, 1, 2**64 - 1)]).flatten(1)
    assert len({tuple(row.tolist()) for row in noise}) == 120
    big = frame_noise(64, (4, 16, 16), 3).flatten(1)
    assert abs(big.mean()) < 0.02
    assert abs(big.std() - 1) < 0.02
    correlation = torch.corrcoef(big) - torch.eye(64)
    assert correlation.abs().max() < 0.16  # 5 sigma of 1/sqrt(1024)


def test_the_numbers_stay_what_they_are():
    # A clip made last year must come out the same: these values are a promise.
    noise = frame_noise([0, 1000], (1, 4, 4), 42).flatten(1)[:, :3]
    promised = [[0.8994773, 0.3526074, -0.1223253], [-1.1148366, 0.5249882, 1.4970070]]
    torch.testing.assert_close(noise, torch.tensor(promised), rtol=0, atol=1e-6)


def test_repeated_returns_after_its_period():
    noise = frame_noise(20, SHAPE, 5, "repeated", period=7)
    assert torch.equal(noise[:7], frame_noise(7, SHAPE, 5))
    assert torch.equal(noise[7:14], noise[:7])
    assert torch.equal(noise[14:], noise[:6])


def test_shuffled_blocks_hold_the_noises_of_a_period_before():
    period, stride = 8, 6
    noise = frame_noise(50, SHAPE, 5, "shuffled-block", period=period, stride=stride)
    assert torch.equal(noise[:period], frame_noise(period, SHAPE, 5))
    orders = set()
    for start in range(period, 50 - stride, stride):
        block = [row.tobytes() for row in noise[start : start + stride].numpy()]
        before = [row.tobytes() for row in noise[start - period :][:stride].numpy()]
        assert set(block) == set(before)
        orders.add(tuple(before.index(row) for row in block))
    assert len(orders) > 1
    other = frame_noise(50, SHAPE, 6, "shuffled-block", period=period, stride=stride)
    assert not torch.equal(noise, other)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"frames": 0}, "fewest is 1"),
        ({"frames": []}, "fewest is 1"),
        ({"frames": [3, -1]}, "first is 0"),
        ({"seed": -1}, "outside 0"),
        ({"seed": 2**64}, "outside 0"),
        ({"kind": "pink"}, "independent, repeated, shuffled-block"),
        ({"period": 4}, "has no period"),
        ({"kind": "repeated"}, "needs a period"),
        ({"kind": "repeated", "period": 0}, "at least 1"),
        ({"kind": "repeated", "period": 4, "stride": 2}, "has no stride"),
        ({"kind": "shuffled-block", "period": 4}, "needs a stride"),
        ({"kind": "shuffled-block", "period": 4, "stride": 5}, "longest stride is 4"),
    ],
)
def test_bad_values(kwargs, message):
    with pytest.raises(TemporalError, match=message):
        frame_noise(**({"frames": 4, "shape": SHAPE, "seed": 1} | kwargs))
