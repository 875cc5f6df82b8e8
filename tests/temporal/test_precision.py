from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from temporal.chunked import Chunks
from temporal.constant_attention import constant_cross_attention
from temporal.errors import TemporalError
from temporal.precision import computing_type, quantise_weights
from temporal.speed import tuned_for_cpu
from tests.temporal.networks import unet_inputs, worst


@torch.no_grad()
def test_eight_bit_weights_are_close_and_half_the_size_of_half(unet: Any) -> None:
    inputs = unet_inputs()
    theirs = unet(**inputs)[0]
    small = quantise_weights(copy.deepcopy(unet))
    ours = small(**inputs)[0]
    assert 1e-5 < worst(ours, theirs) < 0.1
    stored = sum(t.numel() * t.itemsize for t in [*small.parameters(), *small.buffers()])
    assert stored < 0.35 * sum(t.numel() * 4 for t in [*unet.parameters(), *unet.buffers()])
    again = quantise_weights(small)(**inputs)[0]
    assert torch.equal(ours, again)


@torch.no_grad()
def test_eight_bit_weights_go_with_everything_else(unet: Any) -> None:
    inputs = unet_inputs()
    small = quantise_weights(copy.deepcopy(unet))
    theirs = small(**inputs)[0]
    with (
        constant_cross_attention(small),
        tuned_for_cpu(small, Chunks(frames=3, pixels=13, tokens=100, queries=11)),
    ):
        assert worst(small(**inputs)[0], theirs) < 1e-5


def test_computing_types() -> None:
    assert computing_type("bfloat16") == torch.bfloat16
    for name in ("float8", "int8"):
        with pytest.raises(TemporalError, match=rf"computes in '{name}'; there are float32"):
            computing_type(name)
