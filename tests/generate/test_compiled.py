"""A compiled UNet, and windows that go through it together, give what one plain window gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from animate.generate.memory import plan_clip_memory, windows_of_a_step
from animate.generate.pipeline import Engine, sample
from animate.progress import Quiet
from animate.request.request import RuntimeOptions
from temporal.errors import TemporalError
from temporal.memory_plan import MemoryPlan
from tests.generate.workers.contract import SIZE, Scene, make_scene
from tests.scene import picture

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("compiled") / "toy", frames=8)


def latents(scene: Scene, engine: Engine, **changes: Any) -> Tensor:
    return sample(engine, scene.settings(**changes), picture(SIZE), scene.control, Quiet())


def plan(scene: Scene, device: torch.device, **options: Any) -> MemoryPlan:
    return plan_clip_memory(
        scene.parts.variant,
        scene.settings(),
        RuntimeOptions(**options),
        frames=len(scene.control),
        device=device,
        components=scene.parts,
    )


def test_a_compiled_unet_makes_the_same_clip(scene: Scene) -> None:
    plain = latents(scene, Engine(components=scene.parts, device=CPU), steps=1)
    # This backend traces and runs the trace: what could go wrong, without a compiler's minutes.
    ours = latents(scene, Engine(components=scene.parts, device=CPU, compiler="eager"), steps=1)
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)
    assert getattr(scene.parts.unet, "_compiled_call_impl", None) is None
    torch._dynamo.reset()


def test_what_takes_the_unet_apart_is_not_compiled(scene: Scene) -> None:
    engine = Engine(components=scene.parts, device=CPU, compiler="eager")
    with pytest.raises(TemporalError, match="keep-features"):
        latents(scene, engine, keep_features=2, steps=4)
    streamed = replace(engine, plan=plan(scene, CUDA, memory="1GiB", offload="stream"))
    with pytest.raises(TemporalError, match="streamed"):
        latents(scene, streamed)


def test_a_gpu_takes_as_many_windows_together_as_a_step_has(scene: Scene) -> None:
    assert windows_of_a_step(scene.settings(), 8) == 2
    assert plan(scene, CUDA, memory="8GiB").window_batch == 2
    assert plan(scene, CPU, memory="8GiB").window_batch == 1


def test_windows_together_make_the_same_clip(scene: Scene) -> None:
    engine = Engine(components=scene.parts, device=CPU, plan=plan(scene, CPU, memory="8GiB"))
    one = latents(scene, engine)
    assert engine.plan is not None
    two = latents(scene, replace(engine, plan=replace(engine.plan, window_batch=2)))
    torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-3)
