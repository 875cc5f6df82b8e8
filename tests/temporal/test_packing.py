"""Weights that are packed for the processor: the same numbers, and the network as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from diffusers.models.attention import FeedForward
from torch import nn

from temporal.chunked import Chunks
from temporal.constant_attention import constant_cross_attention
from temporal.errors import TemporalError
from temporal.packing import packed_weights
from temporal.speed import tuned_for_cpu
from tests.temporal.networks import randomise, unet_inputs, worst


def replaced(unet: Any) -> list[nn.Module]:
    return [module for module in unet.modules() if "forward" in vars(module)]


@pytest.mark.parametrize("chunks", [None, Chunks(frames=1, pixels=7, tokens=30)])
@torch.no_grad()
def test_packed_weights_change_nothing(unet: Any, chunks: Chunks | None) -> None:
    inputs = unet_inputs()
    theirs = unet(**inputs)[0]
    with constant_cross_attention(unet), tuned_for_cpu(unet, chunks):
        with packed_weights(unet):
            assert worst(unet(**inputs)[0], theirs) < 1e-5
        assert worst(unet(**inputs)[0], theirs) < 1e-5
    assert replaced(unet) == []
    assert torch.equal(unet(**inputs)[0], theirs)


def test_every_weight_is_packed_once_those_of_gates_within_the_gate(unet: Any) -> None:
    gates = {module for module in unet.modules() if isinstance(module, FeedForward)}
    inside = {inner for gate in gates for inner in gate.modules() if inner is not gate}
    kinds = (nn.Linear, nn.Conv2d, nn.Conv3d)
    layers = {module for module in unet.modules() if type(module) in kinds}
    with packed_weights(unet):
        assert set(replaced(unet)) == gates | (layers - inside)
    products = {module for module in layers if type(module) is nn.Linear} - inside
    with packed_weights(unet, convolutions=False):
        assert set(replaced(unet)) == gates | products
    with packed_weights(unet, products=False):
        assert set(replaced(unet)) == layers - inside - products


def test_packed_weights_take_the_place_of_the_others_and_give_it_back(unet: Any) -> None:
    before = copy.deepcopy(unet.state_dict())
    with packed_weights(unet):
        left = sum(weight.nbytes for weight in unet.parameters())
    assert left < 0.1 * sum(weight.nbytes for weight in before.values())  # norms and biases
    after = unet.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_weights_in_the_memory_of_others_stay(unet: Any) -> None:
    for weight in unet.parameters():
        weight.data = torch.from_numpy(weight.numpy().copy())
    places = [weight.data_ptr() for weight in unet.parameters()]
    with packed_weights(unet):
        assert [weight.data_ptr() for weight in unet.parameters()] == places
    assert [weight.data_ptr() for weight in unet.parameters()] == places


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(6, 9, 3, stride=2, padding=(1, 0), dilation=2, groups=3),
        nn.Conv2d(5, 7, 1, bias=False),
        nn.Conv3d(6, 4, (3, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0), groups=2),
    ],
    ids=str,
)
@torch.no_grad()
def test_every_shape_of_a_convolution(conv: nn.Conv2d | nn.Conv3d) -> None:
    randomise(conv)
    weight = conv.weight.clone()
    maps = torch.randn(2, conv.in_channels, *[7, 8, 9][: conv.weight.ndim - 2])
    theirs = conv(maps)
    with packed_weights(conv):
        assert conv.weight.numel() == 0
        assert worst(conv(maps), theirs) < 1e-5
    assert torch.equal(conv.weight, weight)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv3d(4, 4, 3, padding=1),
    ],
    ids=str,
)
def test_other_convolutions_are_left_alone(conv: nn.Module) -> None:
    with packed_weights(conv):
        assert replaced(conv) == []


def test_other_types_are_left_alone(unet: Any) -> None:
    unet.to(torch.bfloat16)
    with packed_weights(unet):
        assert replaced(unet) == []


def test_a_torch_without_the_kernels_is_told(unet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(TemporalError, match="without oneDNN"), packed_weights(unet):
        pass
