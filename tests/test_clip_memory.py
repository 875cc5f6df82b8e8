"""What a clip's memory plan takes into account of the device and of the loaded networks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from animate import pipeline
from animate.memory import device_memory
from animate.pipeline import Engine, generate
from animate.progress import Quiet

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


@pytest.mark.parametrize("first", ["model", "none"])
def test_networks_on_the_card_go_home_before_stages_that_do_not_count_them(
    monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """At once, or when a smaller plan is the first to keep networks on the host."""
    did: list[str] = []
    network = SimpleNamespace(to=lambda device: did.append(f"to {device}"))
    plans: Any = [SimpleNamespace(offload=way, peaks={"denoise": 1}) for way in (first, "model")]
    parts: Any = SimpleNamespace(networks=lambda: (network,))

    def sample(engine: Engine, *_: Any) -> None:
        did.append(f"sample {engine.offload}")
        if engine.plan is plans[0]:
            raise torch.OutOfMemoryError("stand-in")

    monkeypatch.setattr(pipeline, "encode", lambda *_: did.append("encode"))
    monkeypatch.setattr(pipeline, "sample", sample)
    monkeypatch.setattr(pipeline, "decode", lambda *_: ())
    monkeypatch.setattr(pipeline, "smaller", lambda *_: plans[1])
    engine = Engine(components=parts, device=torch.device("cpu"), plan=plans[0])
    settings: Any = None
    list(generate(engine, settings, settings, settings, Quiet()))
    retried = ["to cpu", "sample model"]
    before = ["to cpu"] if first == "model" else []
    assert did == [*before, "encode", f"sample {first}", *retried]
