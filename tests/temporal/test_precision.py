from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from temporal.chunked import Chunks, chunked
from temporal.constant_attention import constant_cross_attention
from temporal.errors import TemporalError
from temporal.precision import computing_type, quantise_weights, weight_bytes
from temporal.speed import channels_last, convolutions_in_2d, gates_in_place
from tests.temporal.networks import unet_inputs, worst


@torch.no_grad()
def test_eight_bit_weights_are_close_and_half_the_size_of_half(unet: Any) -> None:
    inputs = unet_inputs()
    theirs = unet(**inputs)[0]
    small = quantise_weights(copy.deepcopy(unet))
    ours = small(**inputs)[0]
    assert 1e-5 < worst(ours, theirs) < 0.1
    stored = sum(t.numel() * t.itemsize for t in [*small.parameters(), *small.buffers()])
    assert stored < 0.35 * weight_bytes(unet, "float32")
    assert weight_bytes(unet, "int8") < 0.6 * weight_bytes(unet, "float16")
    again = quantise_weights(small)(**inputs)[0]
    assert torch.equal(ours, again)


@torch.no_grad()
def test_eight_bit_weights_go_with_everything_else(unet: Any) -> None:
    inputs = unet_inputs()
    small = quantise_weights(copy.deepcopy(unet))
    theirs = small(**inputs)[0]
    with (
        constant_cross_attention(small),
        convolutions_in_2d(small),
        channels_last(small),
        chunked(small, Chunks(frames=3, pixels=13, tokens=100, queries=11)),
    ):
        assert worst(small(**inputs)[0], theirs) < 1e-5


@torch.no_grad()
def test_two_dimensional_convolutions_and_layout_change_nothing(unet: Any) -> None:
    inputs = unet_inputs()
    theirs = unet(**inputs)[0]
    weights = {name: (w.clone(), w.stride()) for name, w in unet.named_parameters()}
    with convolutions_in_2d(unet), channels_last(unet):
        assert worst(unet(**inputs)[0], theirs) < 1e-5
    assert torch.equal(unet(**inputs)[0], theirs)
    for name, weight in unet.named_parameters():
        assert torch.equal(weight, weights[name][0])
        assert weight.stride() == weights[name][1]


@pytest.mark.parametrize("tokens", [None, 1, 37, 10_000])
@torch.no_grad()
def test_gates_in_place_change_nothing(unet: Any, tokens: int | None) -> None:
    inputs = unet_inputs()
    theirs = unet(**inputs)[0]
    with gates_in_place(unet, tokens=tokens):
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
    assert computing_type("int8") == torch.float16
    assert computing_type("int8", device="cpu") == torch.bfloat16
    with pytest.raises(TemporalError, match=r"no precision 'float8'.*int8"):
        computing_type("float8")
