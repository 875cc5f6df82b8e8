"""Matrices that are packed for the processor: the same numbers, and the network as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.attention import FeedForward
from torch import nn

from temporal.chunked import Chunks
from temporal.constant_attention import constant_cross_attention
from temporal.errors import TemporalError
from temporal.packing import packed_products
from temporal.speed import tuned_for_cpu
from tests.temporal.networks import unet_inputs, worst


def replaced(unet: Any) -> list[nn.Module]:
    return [module for module in unet.modules() if "forward" in vars(module)]


@pytest.mark.parametrize("chunks", [None, Chunks(frames=1, pixels=7, tokens=30)])
@torch.no_grad()
def test_packed_matrices_change_nothing(unet: Any, chunks: Chunks | None) -> None:
    inputs = unet_inputs()
    theirs = unet(**inputs)[0]
    with constant_cross_attention(unet), tuned_for_cpu(unet, chunks):
        with packed_products(unet):
            assert worst(unet(**inputs)[0], theirs) < 1e-5
        assert worst(unet(**inputs)[0], theirs) < 1e-5
    assert replaced(unet) == []
    assert torch.equal(unet(**inputs)[0], theirs)


def test_every_matrix_is_packed_once_those_of_gates_within_the_gate(unet: Any) -> None:
    gates = {module for module in unet.modules() if isinstance(module, FeedForward)}
    inside = {inner for gate in gates for inner in gate.modules() if inner is not gate}
    linear = {module for module in unet.modules() if type(module) is nn.Linear}
    with packed_products(unet):
        assert set(replaced(unet)) == gates | (linear - inside)


def test_other_types_are_left_alone(unet: Any) -> None:
    unet.to(torch.bfloat16)
    with packed_products(unet):
        assert replaced(unet) == []


def test_a_torch_without_the_kernels_is_told(unet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(TemporalError, match="without oneDNN"), packed_products(unet):
        pass
