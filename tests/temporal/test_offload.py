from __future__ import annotations

from typing import Any

import pytest
import torch

from temporal.chunked import Chunks, chunked
from temporal.constant_attention import constant_cross_attention
from temporal.errors import TemporalError
from temporal.offload import offloaded, streamed_units
from tests.temporal.networks import unet_inputs


@torch.no_grad()
def test_streaming_changes_nothing_and_holds_one_block(unet: Any) -> None:
    inputs = unet_inputs()
    theirs = unet(**inputs)[0]
    homes = {name: weight.data_ptr() for name, weight in unet.named_parameters()}
    most = 0

    def note(*_: Any) -> None:
        nonlocal most
        away = [w for name, w in unet.named_parameters() if w.data_ptr() != homes[name]]
        most = max(most, sum(w.numel() for w in away))

    hook = unet.up_blocks[1].resnets[0].temporal_res_block.conv1.register_forward_hook(note)
    with offloaded(unet, "cpu", "stream"):
        assert torch.equal(unet(**inputs)[0], theirs)
        assert torch.equal(unet(**inputs)[0], theirs)
    hook.remove()
    assert most == sum(w.numel() for w in unet.up_blocks[1].resnets[0].parameters())
    assert {name: weight.data_ptr() for name, weight in unet.named_parameters()} == homes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in unet.modules())


@torch.no_grad()
def test_streaming_goes_with_chunks_and_constants(unet: Any) -> None:
    inputs = unet_inputs()
    with constant_cross_attention(unet), chunked(unet, Chunks(frames=3, pixels=13)):
        theirs = unet(**inputs)[0]
        with offloaded(unet, "cpu", "stream"):
            assert torch.equal(unet(**inputs)[0], theirs)


def test_every_weight_belongs_to_one_unit(unet: Any) -> None:
    inside = [id(w) for unit in streamed_units(unet) for w in unit.parameters()]
    assert sorted(inside) == sorted(id(w) for w in unet.parameters())


@torch.no_grad()
def test_weights_are_home_after_an_error(unet: Any) -> None:
    homes = [weight.data_ptr() for weight in unet.parameters()]
    inputs = unet_inputs()
    with pytest.raises(RuntimeError), offloaded(unet, "cpu", "stream"):
        unet(**{**inputs, "sample": inputs["sample"][:, :, :3]})
    assert [weight.data_ptr() for weight in unet.parameters()] == homes


def test_a_whole_network_goes_and_comes_back(vae: Any) -> None:
    with offloaded(vae.decoder.conv_in, "meta", "none"):
        assert vae.decoder.conv_in.weight.device.type == "meta"
    vae.decoder.conv_in.to_empty(device="cpu")
    with offloaded(vae, "cpu", "model"):
        assert vae.decoder.conv_in.weight.device.type == "cpu"


def test_unknown_way(unet: Any) -> None:
    with (
        pytest.raises(TemporalError, match=r"no offload 'disk'.*stream"),
        offloaded(
            unet,
            "cpu",
            "disk",  # type: ignore[arg-type]
        ),
    ):
        pass


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.no_grad()
def test_streaming_to_a_gpu(unet: Any) -> None:
    inputs = {k: v.cuda() if torch.is_tensor(v) else v for k, v in unet_inputs().items()}
    unet.cuda()
    theirs = unet(**inputs)[0]
    unet.cpu()
    with offloaded(unet, "cuda", "stream"):
        for _ in range(3):
            assert torch.allclose(unet(**inputs)[0], theirs, atol=1e-5)
