from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel

from temporal.chunked import Chunks, chunked
from temporal.constant_attention import constant_cross_attention
from temporal.errors import TemporalError
from temporal.precision import computing_type, quantise_weights
from temporal.speed import cached_chunks, convolutions_in_2d, gates_in_place, tuned_for_cpu
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


@torch.no_grad()
def test_two_dimensional_convolutions_change_nothing(unet: Any) -> None:
    inputs = unet_inputs()
    theirs = unet(**inputs)[0]
    with convolutions_in_2d(unet):
        assert worst(unet(**inputs)[0], theirs) < 1e-5
    assert torch.equal(unet(**inputs)[0], theirs)


@torch.no_grad()
def test_what_a_cpu_likes_changes_nothing(unet: Any) -> None:
    inputs = unet_inputs()
    theirs = unet(**inputs)[0]
    for chunks in (None, Chunks(frames=1, pixels=7)):
        with tuned_for_cpu(unet, chunks):
            assert worst(unet(**inputs)[0], theirs) < 1e-5
        assert torch.equal(unet(**inputs)[0], theirs)


def test_pieces_for_a_cpu_are_those_of_a_wide_network(unet: Any) -> None:
    with torch.device("meta"):
        wide = UNetSpatioTemporalConditionModel()
    assert cached_chunks(unet, window=8, pixels=96) == Chunks()
    assert cached_chunks(wide, window=8, pixels=960) == Chunks(frames=2, pixels=256)
    assert cached_chunks(wide, window=24, pixels=9216) == Chunks(frames=1, pixels=85)
    assert cached_chunks(wide.bfloat16(), window=24, pixels=9216) == Chunks(frames=1, pixels=170)


@pytest.mark.parametrize("piece", [None, 1, 37_000, 10_000_000])
@torch.no_grad()
def test_gates_in_place_change_nothing(unet: Any, piece: int | None) -> None:
    inputs = unet_inputs()
    theirs = unet(**inputs)[0]
    with gates_in_place(unet, piece=piece):
        assert worst(unet(**inputs)[0], theirs) < 1e-5
        with chunked(unet, Chunks(frames=3, pixels=13, tokens=100)):
            assert worst(unet(**inputs)[0], theirs) < 1e-5
    assert torch.equal(unet(**inputs)[0], theirs)


def test_gates_in_place_leave_training_alone(unet: Any) -> None:
    layer = unet.mid_block.attentions[0].transformer_blocks[0].ff
    values = torch.randn(2, 3, 64, requires_grad=True)
    with gates_in_place(unet):
        layer(values).sum().backward()
    assert values.grad is not None
    assert float(values.grad.abs().sum()) > 0


def test_computing_types() -> None:
    assert computing_type("bfloat16") == torch.bfloat16
    for name in ("float8", "int8"):
        with pytest.raises(TemporalError, match=rf"computes in '{name}'; there are float32"):
            computing_type(name)
