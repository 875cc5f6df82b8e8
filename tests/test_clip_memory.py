"""What a clip's memory plan takes into account of the device and of the loaded networks."""

from __future__ import annotations

import pytest
import torch

from animate.memory import device_memory

CUDA = torch.device("cuda")


def card(monkeypatch: pytest.MonkeyPatch, *, free: int, reserved: int) -> None:
    """A stand-in for a GPU whose memory is asked for."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 80 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: reserved)


def test_what_an_earlier_clip_left_on_a_gpu_is_still_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    card(monkeypatch, free=20 << 30, reserved=0)
    first = device_memory(CUDA)
    card(monkeypatch, free=6 << 30, reserved=14 << 30)
    assert device_memory(CUDA) == first
