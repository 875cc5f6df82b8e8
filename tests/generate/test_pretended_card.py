"""Encoding, sampling and decoding on a card that is not there (`tests.generate.pretended`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from animate.generate import decoding, pipeline, video_diffusion
from animate.generate import denoise as loop
from animate.generate.decoding import decode
from animate.generate.memory import plan_clip_memory
from animate.generate.pipeline import Engine, sample
from animate.generate.settings import settle
from animate.models.components import (
    Components,
    build_control_network,
    build_network,
    make_scheduler,
    regroup,
)
from animate.models.store import read_json
from animate.models.variants import COMPONENTS, load_variant, shipped_config
from animate.progress import Quiet
from animate.request.request import AnimationRequest
from animate.request.values import Size
from temporal.memory_plan import MemoryPlan
from tests.generate.pretended import Watch, pretended_card, real, schedulers_without_numbers

GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Skeletons:
    """Control frames without numbers."""

    frames: int
    size: Size

    def __len__(self) -> int:
        return self.frames

    def __call__(self, frames: Any) -> torch.Tensor:
        return torch.zeros(len(frames), 3, self.size.height, self.size.width, dtype=torch.uint8)


def networks(name: str, dtype: torch.dtype, mode: FakeTensorMode) -> Components:
    """A variant's networks at full size, without numbers."""
    variant = load_variant(name)
    parts: dict[str, Any] = {}
    with mode:
        for component in COMPONENTS:
            if component == "controlnext":
                network: Any = build_control_network(variant.control_network)
            else:
                path = variant.file(variant.components[component].config).locate()
                config = read_json(shipped_config(component) if path is None else path)
                named = {k: v for k, v in config.items() if not k.startswith("_")}
                network = build_network(component, named)
            parts[component] = torch.nn.Module.to(network, dtype).eval().requires_grad_(False)
            if variant.channels_per_group is not None and component in ("unet", "vae"):
                regroup(network, variant.channels_per_group)
    scheduler = make_scheduler(variant.scheduler)
    return Components(variant=variant, scheduler=scheduler, digests={}, reports=(), **parts)


@pytest.fixture(scope="module")
def card() -> Iterator[FakeTensorMode]:
    """A machine with two cards, and no code that must read numbers there."""
    with pretended_card() as mode, pytest.MonkeyPatch.context() as patch:
        without_numbers(patch)
        yield mode


def without_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that must read numbers on the host reads real ones, or none."""
    monkeypatch.setattr(
        video_diffusion,
        "make_scheduler",
        schedulers_without_numbers(video_diffusion.make_scheduler),
    )
    for name in ("call_sigmas", "plan_tables"):
        monkeypatch.setattr(loop, name, real(getattr(loop, name)))

    def pictures(group: torch.Tensor, first: int) -> np.ndarray:
        assert group.is_cuda
        return np.zeros((len(group), *group.shape[2:], 3), np.uint8)

    monkeypatch.setattr(decoding, "_pictures", pictures)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a clip on the pretended card did."""

    plan: MemoryPlan
    watch: Watch
    frames: int
    calls: int


def run(
    parts: Components,
    mode: FakeTensorMode,
    device: str,
    *,
    frames: int,
    steps: int = 2,
    **options: Any,
) -> Ran:
    """A clip, by the plan that its settings lead to."""
    target = torch.device(device)
    request = AnimationRequest.from_dict(
        {"reference": "-", "driving": "-", "output": "-", "steps": steps, **options}
    )
    settings = settle(request, parts.variant, Size(*parts.variant.sizes[0]))
    plan = plan_clip_memory(
        parts.variant, settings, request.runtime, frames=frames, device=target, components=parts
    )
    engine = Engine(components=parts, device=target, plan=plan)
    picture = np.zeros((settings.size.height, settings.size.width, 3), np.uint8)
    control: Any = Skeletons(frames=frames, size=settings.size)
    watch = Watch()
    with mode, watch:
        latents = sample(engine, settings, picture, control, Quiet())
        assert latents.device.type == "cpu"
        made = sum(1 for _ in decode(engine, settings, latents, Quiet()))
    assert engine.plan is plan, "no stage was tried again"
    layout = pipeline.plan_clip(settings, frames=frames, steps=steps)
    calls = sum(-(-len(layout.at(step)) // plan.window_batch) for step in range(steps))
    return Ran(plan=plan, watch=watch, frames=made, calls=calls)


def check(ran: Ran, frames: int, dtype: torch.dtype) -> None:
    assert ran.frames == frames
    between = ("check_conditions", "offloaded", "send_home")  # stages: networks come and go
    waits = {k: n for k, n in ran.watch.waits.items() if not k.endswith(between)}
    # Latents live on the host: each call's prediction goes there, and nothing else is waited for.
    assert waits == {"copy to the host in denoise": ran.calls}
    assert ran.watch.types.keys() <= {dtype, torch.float32}  # the VAE encodes in float32
    assert ran.watch.types[dtype]


def often(*values: Any) -> Any:
    """A way that is tried whenever tests are."""
    return pytest.param(*values, id=f"{values[0]}-{values[1]}")


def seldom(*values: Any) -> Any:
    return pytest.param(*values, id=f"{values[0]}-{values[1]}", marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def tiny(card: FakeTensorMode) -> Components:
    return networks("tiny", torch.float16, card)


@pytest.mark.parametrize(
    ("options", "device"),
    [
        often({}, "cuda:1"),
        often({"offload": "stream"}, "cuda:0"),  # its networks are on the other card
        often({"keep_features": 2, "guidance": "2"}, "cuda:1"),
        often({"precision": "int8", "offload": "model"}, "cuda:0"),
        seldom({}, "cuda:0"),
        seldom({"offload": "model"}, "cuda:1"),
        seldom({"offload": "stream"}, "cuda:1"),
        seldom({"guidance": "1:3"}, "cuda:0"),
        seldom({"keep_features": 2}, "cuda:0"),
        seldom({"precision": "int8"}, "cuda:1"),
        seldom({"memory": "1.2GiB"}, "cuda:0"),
    ],
)
def test_the_bundled_model_on_a_card(
    card: FakeTensorMode, tiny: Components, options: dict[str, Any], device: str
) -> None:
    parts = networks("tiny", torch.float16, card) if "precision" in options else tiny
    ran = run(parts, card, device, frames=6, window=4, overlap=2, size="64x64", **options)
    check(ran, 6, torch.float16)


@pytest.fixture(scope="module", params=["svd-v1", "svd-v2"])
def published(request: pytest.FixtureRequest, card: FakeTensorMode) -> Components:
    return networks(request.param, torch.bfloat16, card)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("options", "device", "offload"),
    [
        ({"memory": "24GiB"}, "cuda:0", "none"),
        ({"memory": "8GiB"}, "cuda:1", "none"),
        ({"memory": "6GiB"}, "cuda:0", "model"),
        ({"memory": "4GiB"}, "cuda:1", "stream"),
        ({"memory": "16GiB", "keep_features": 2}, "cuda:0", "none"),
    ],
    ids=str,
)
def test_a_published_model_on_a_card(
    card: FakeTensorMode,
    published: Components,
    options: dict[str, Any],
    device: str,
    offload: str,
) -> None:
    # Two windows; one step shows all where nothing is kept from step to step.
    steps = 1 if options.get("keep_features", 1) == 1 else 2
    ran = run(published, card, device, frames=25, steps=steps, **options)
    assert ran.plan.offload == offload
    check(ran, 25, torch.bfloat16)


def test_mixed_types_and_reads_of_the_card_are_seen(card: FakeTensorMode) -> None:
    """The watch can fail."""
    with card, Watch() as watch:
        ours = torch.zeros(2, 2, device="cuda:0", dtype=torch.float16)
        with pytest.raises(AssertionError, match="mm of"):
            ours @ ours.float()
        with pytest.raises(RuntimeError, match=r"at least two devices"):
            ours + torch.zeros(2, 2, device="cuda:1", dtype=torch.float16)
        assert not watch.waits
        bool((ours == 0).all())
        ours.cpu()
    assert sum(watch.waits.values()) == 2
