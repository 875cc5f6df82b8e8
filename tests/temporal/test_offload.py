from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn

from temporal.chunked import Chunks, chunked
from temporal.constant_attention import constant_cross_attention
from temporal.errors import TemporalError
from temporal.offload import (
    UNITS_HELD,
    PinnedSlabs,
    _Stream,
    offloaded,
    send_home,
    streamed_units,
)
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


class _Traveller(nn.Module):
    """A network that says where it is told to go."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, device=at))
        self.way: list[str] = []

    def to(self, device: Any) -> _Traveller:  # type: ignore[override]
        self.way.append(str(device))
        return self


def test_a_network_that_is_on_the_device_already_goes_to_the_host() -> None:
    network = _Traveller("meta")
    with offloaded(network, "meta", "model"):
        assert network.way == ["meta"]
    assert network.way == ["meta", "cpu"]


def test_a_network_that_came_half_the_way_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _Traveller("cpu")
    real = network.to

    def no_room(device: Any) -> _Traveller:
        real(device)
        if str(device) == "meta":
            raise torch.OutOfMemoryError("stand-in")
        return network

    monkeypatch.setattr(network, "to", no_room)
    with pytest.raises(torch.OutOfMemoryError), offloaded(network, "meta", "model"):
        pass
    assert network.way == ["meta", "cpu"]


def test_send_home() -> None:
    networks = [_Traveller("meta"), _Traveller("cpu")]
    send_home(networks)
    assert [network.way for network in networks] == [["cpu"], ["cpu"]]


class _Card:
    """A stand-in for a GPU that does nothing until it is waited for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.queued = 0
        self.finished = 0
        for name in ("Stream", "current_stream"):
            monkeypatch.setattr(torch.cuda, name, lambda _: self)
        monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())

    def wait_stream(self, _: Any) -> None:
        """Nothing runs by itself."""

    def record_event(self) -> _Event:
        self.queued += 1
        return _Event(self, self.queued)


class _Event:
    def __init__(self, card: _Card, place: int) -> None:
        self.card, self.place = card, place

    def synchronize(self) -> None:
        self.card.finished = max(self.card.finished, self.place)


class _FakeUnit:
    """Its memory is free once the card has finished the work that was queued before its drop."""

    device = torch.device("cuda")

    def __init__(self, card: _Card) -> None:
        self.card, self.here = card, False
        self.ends: list[int] = []

    def fetch(self) -> None:
        self.here = True

    def drop(self) -> None:
        if self.here:
            self.ends.append(self.card.queued + 1)
        self.here = False

    @property
    def held(self) -> int:
        return self.here + sum(end > self.card.finished for end in self.ends)


def test_the_host_does_not_fetch_more_than_the_gpu_gets_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card = _Card(monkeypatch)
    units: Any = [_FakeUnit(card) for _ in range(12)]
    stream = _Stream(units, torch.device("cuda"))
    stream.after = dict(zip(map(id, units), [*units[1:], units[0]], strict=True))  # a call before
    most, left = 0, []
    for unit in units * 3:
        stream.begin(unit)
        most = max(most, sum(one.held for one in units))
        left.append(card.queued - card.finished)
        stream.end(unit)
    assert most == UNITS_HELD
    assert min(left[1:]) >= 1, "the GPU has work while the next unit is queued"


def test_pinned_weights_take_little_more_than_their_size() -> None:
    """Each alone would be rounded up to a power of two."""
    taken: list[int] = []

    def allocate(size: int) -> torch.Tensor:
        taken.append(1 << (size - 1).bit_length())
        return torch.zeros(size, dtype=torch.uint8)

    slabs = PinnedSlabs(allocate, slab=1 << 16)
    weights = [torch.randn(n, 33).to(torch.float16) for n in (400, 90, 300, 1200, 10, 700, 90)]
    copies = [slabs.copy(weight) for weight in weights]
    assert all(torch.equal(a, b) for a, b in zip(copies, weights, strict=True))
    size = sum(2 * weight.numel() for weight in weights)
    alone = sum(1 << (2 * weight.numel() - 1).bit_length() for weight in weights)
    assert sum(taken) == slabs.size < 1.35 * size < alone


def test_no_room_to_pin_says_what_to_do() -> None:
    def allocate(size: int) -> torch.Tensor:
        raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might ...")

    with pytest.raises(TemporalError, match=r"pin 0\.2 GiB.*out of memory\); free memory"):
        PinnedSlabs(allocate).copy(torch.zeros(3))


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
