"""Stages that fail are tried again: by a smaller plan, or in a wider type; and it is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from animate.animator import Animator
from animate.device import computing_dtype
from animate.errors import NotFiniteError, ran_out_of_memory
from animate.generate import engine as engine_room
from animate.generate import pipeline, video_diffusion
from animate.generate.decoding import decode
from animate.generate.engine import Engine, try_again
from animate.generate.memory import plan_clip_memory
from animate.generate.pipeline import sample
from animate.models.components import load_components
from animate.progress import Quiet, Remembering
from animate.request.request import RuntimeOptions
from temporal.errors import TemporalError
from temporal.memory import smaller
from tests.generate.workers.contract import SIZE, Scene, make_scene
from tests.scene import picture

CPU = torch.device("cpu")
SHORTAGES: tuple[Exception, ...] = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.20 GiB."),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    torch.set_num_threads(1)
    return make_scene(tmp_path_factory.mktemp("tries") / "toy", frames=8)


def failing(real: Callable[..., Any], *problems: Exception) -> Callable[..., Any]:
    """The function, which raises each of these first, once a call."""
    left = list(problems)

    def call(*args: Any, **options: Any) -> Any:
        if left:
            raise left.pop(0)
        return real(*args, **options)

    return call


def planned(scene: Scene) -> Engine:
    """An engine with the fastest plan of a GPU, on the CPU."""
    plan = plan_clip_memory(
        scene.parts.variant, scene.settings(), RuntimeOptions(memory=64 << 30),
        frames=len(scene.control), device=torch.device("cuda"), components=scene.parts,
    )  # fmt: skip
    return Engine(components=scene.parts, device=CPU, plan=plan)


def clip(scene: Scene, engine: Engine, progress: Any) -> np.ndarray:
    settings = scene.settings(decode_chunk=4)
    latents = sample(engine, settings, picture(SIZE), scene.control, progress)
    return np.stack(list(decode(engine, settings, latents, progress)))


@pytest.fixture(scope="module")
def frames(scene: Scene) -> np.ndarray:
    return clip(scene, planned(scene), Quiet())


@pytest.mark.parametrize("problem", SHORTAGES, ids=lambda problem: str(problem)[:30])
def test_every_word_for_too_little_memory_is_known(problem: Exception) -> None:
    assert ran_out_of_memory(problem)
    assert not ran_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))


@pytest.mark.parametrize(
    ("stage", "room", "function"),
    [
        ("encode", video_diffusion, "encode_reference"),
        ("denoise", pipeline, "denoise"),
        ("decode", video_diffusion, "decode_frames"),
    ],
)
def test_memory_that_runs_out_in_a_stage_is_answered_by_a_smaller_plan(
    scene: Scene,
    frames: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    room: Any,
    function: str,
) -> None:
    real = getattr(room, function)
    monkeypatch.setattr(room, function, failing(real, SHORTAGES[2]))
    engine, progress = planned(scene), Remembering(Quiet())
    before = engine.plan
    ours = clip(scene, engine, progress)
    assert before is not None
    assert engine.plan is not None
    assert engine.plan.peaks[stage] < before.peaks[stage]  # type: ignore[index]
    assert [w for w in progress.warnings if f"memory ran out to {stage}; trying again" in w]
    assert int(np.abs(ours.astype(int) - frames).max()) <= 1


def test_decoding_begins_with_the_plan_that_denoising_ended_with(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pipeline.denoise
    monkeypatch.setattr(pipeline, "denoise", failing(real, *SHORTAGES[:3]))
    engine, offloads = planned(scene), []
    real_frames = video_diffusion.decode_frames

    def seen(*args: Any, **options: Any) -> Any:
        offloads.append(engine.plan)
        return real_frames(*args, **options)

    monkeypatch.setattr(video_diffusion, "decode_frames", seen)
    first = engine.plan
    clip(scene, engine, Quiet())
    assert offloads == [engine.plan]
    assert first is not None
    assert offloads[0].rung > first.rung


def test_windows_before_the_shortage_are_not_computed_again(
    scene: Scene, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = pipeline.networks_of

    def counted(*args: Any) -> Any:
        calls.append((args[2].step, args[2].window))
        return real(*args)

    def unet(*args: Any, **options: Any) -> Any:
        if len(seen) == 1:
            seen.append(1)
            raise SHORTAGES[0]
        seen.append(1)
        return forward(*args, **options)

    seen: list[int] = []
    forward = scene.parts.unet.forward
    monkeypatch.setattr(pipeline, "networks_of", counted)
    engine = planned(scene)
    monkeypatch.setattr(scene.parts.unet, "forward", unet)
    ours = clip(scene, engine, Quiet())
    assert calls[0] == (0, 0)
    assert calls[1] > (0, 0)
    assert int(np.abs(ours.astype(int) - frames).max()) <= 1


@pytest.mark.parametrize("stage", ["encode", "denoise", "decode"])
def test_one_message_where_no_plan_is_left(scene: Scene, stage: Any) -> None:
    engine = planned(scene)

    def run_out(times: int) -> None:
        for _ in range(times):
            try_again(engine, stage, RuntimeError("CUDA error: out of memory"), Quiet())

    with pytest.raises(TemporalError, match=f"smallest plan already .* {stage}"):
        run_out(100)


def test_a_plan_shrinks_to_what_another_program_has_left(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = planned(scene)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    assert engine.plan is not None
    next_one = smaller(smaller(engine.plan))
    free = int(next_one.peaks["denoise"] * 1.05) + 1
    monkeypatch.setattr(engine_room, "device_memory", lambda device: free)
    engine.device = torch.device("cuda")
    try_again(engine, "denoise", SHORTAGES[0], Quiet())
    assert engine.plan == next_one


def half(scene: Scene) -> Engine:
    """The scene's networks in float16, whose UNet gives infinite numbers in that type alone."""
    parts = load_components(scene.parts.variant, torch.float16)

    def overflow(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        return output * 60000 / 60000  # beyond the largest float16 in between

    for network in (parts.unet.conv_out, parts.vae.decoder.conv_in):
        network.register_forward_hook(overflow)
    return Engine(components=parts, device=CPU)


def test_a_window_that_is_not_finite_is_computed_again_in_a_wider_type(
    scene: Scene, frames: np.ndarray
) -> None:
    engine, progress = half(scene), Remembering(Quiet())
    ours = clip(scene, engine, progress)
    assert [str(computing_dtype(n)) for n in engine.components.networks()] == [
        "torch.float32", "torch.float32", "torch.float16", "torch.float32",
    ]  # fmt: skip
    said = "\n".join(progress.warnings)
    for words in ("denoise: the UNet gave", "decode: the VAE gave", "again in float32"):
        assert words in said
    assert float(np.abs(ours.astype(float) - frames).mean()) < 2


def test_a_wider_type_has_a_plan_of_its_own(scene: Scene) -> None:
    engine = half(scene)
    engine.plan = plan_clip_memory(
        scene.parts.variant, scene.settings(), RuntimeOptions(memory=64 << 30),
        frames=8, device=torch.device("cuda"), components=engine.components,
    )  # fmt: skip
    before = engine.plan
    try_again(engine, "denoise", NotFiniteError("denoise", "step 1", "UNet"), Quiet())
    assert (before.precision, engine.plan.precision) == ("float16", "float32")
    narrow, wide = (p.peaks["denoise"] - p.request.resident for p in (before, engine.plan))
    assert wide > 1.5 * narrow


def test_the_next_clip_begins_in_the_type_that_was_loaded(scene: Scene) -> None:
    animator = Animator(half(scene), "a test")
    parts = animator.engine.components
    animator._undo_eight_bit(RuntimeOptions())
    assert animator.engine.components is parts
    try_again(animator.engine, "denoise", NotFiniteError("denoise", "step 1", "UNet"), Quiet())
    animator._undo_eight_bit(RuntimeOptions())
    assert {computing_dtype(n) for n in animator.engine.components.networks()} == {torch.float16}
