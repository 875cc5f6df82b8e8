"""`ControlNeXtVideoPipeline` as code written for diffusers uses it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from animate import ControlNeXtVideoPipeline
from animate.errors import ModelError, MotionError, RequestError
from animate.media import read_image
from temporal.noise import frame_noise
from tests.pipeline.figure import FigureEstimator
from tests.scene import picture


@pytest.fixture
def given(scene: dict[str, Path]) -> dict[str, Any]:
    """A short call."""
    return {
        "image": scene["reference"],
        "poses": scene["poses"],
        "retarget": "none",
        "num_frames": 5,
        "output_type": "np",
    }


def frames(pipe: ControlNeXtVideoPipeline, given: dict[str, Any], **changes: Any) -> np.ndarray:
    array: np.ndarray = pipe(**{**given, **changes}).frames
    return array


def test_code_written_for_diffusers_works_with_the_class_exchanged(
    toy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """diffusers' own example, with the person holding its pose for want of a motion."""
    from diffusers.utils import export_to_video

    pipe = ControlNeXtVideoPipeline.from_pretrained(
        str(toy), torch_dtype=torch.float32, variant="fp16"
    )
    monkeypatch.setattr(pipe.animator, "estimator", lambda request: FigureEstimator())
    pipe.enable_model_cpu_offload()
    pipe.set_progress_bar_config(disable=True)
    image = Pillow.fromarray(picture()).resize((64, 64))
    generator = torch.manual_seed(42)
    out = pipe(
        image,
        height=64,
        width=64,
        num_frames=6,
        num_inference_steps=2,
        min_guidance_scale=1.0,
        max_guidance_scale=1.5,
        fps=7,
        motion_bucket_id=127,
        noise_aug_strength=0.02,
        decode_chunk_size=4,
        num_videos_per_prompt=1,
        generator=generator,
        output_type="pil",
    )
    [video] = out.frames
    assert [frame.size for frame in video] == [(64, 64)] * 6
    assert Path(export_to_video(video, str(tmp_path / "generated.mp4"), fps=7)).is_file()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_frames", 4),
        ("num_inference_steps", 3),
        ("min_guidance_scale", 2.0),
        ("max_guidance_scale", 4.0),
        ("fps", 30),
        ("motion_bucket_id", 20),
        ("noise_aug_strength", 0.8),
        ("decode_chunk_size", 2),
        ("seed", 1),
        ("window", 3),
        ("overlap", 3),
        ("stride", 2),
        ("solver", "unipc"),
        ("control_weight", 0.1),
    ],
)
def test_every_argument_has_an_effect(pipe, given, name, value) -> None:
    given["num_frames"] = 6
    usual, changed = frames(pipe, given), frames(pipe, given, **{name: value})
    assert usual.shape != changed.shape or not np.array_equal(usual, changed)


def test_values_that_are_the_models_own_change_nothing(pipe, given) -> None:
    own = {"fps": 7, "motion_bucket_id": 128, "noise_aug_strength": 0.02, "seed": 0}
    own |= {"num_inference_steps": 2, "min_guidance_scale": 1.0, "height": 64, "width": 64}
    assert np.array_equal(frames(pipe, given), frames(pipe, given, **own))


def test_a_fresh_generator_is_its_seed_and_a_used_one_goes_on(pipe, given) -> None:
    generator = torch.Generator().manual_seed(5)
    first, second = (frames(pipe, given, generator=generator) for _ in range(2))
    assert np.array_equal(first, frames(pipe, given, seed=5))
    assert not np.array_equal(first, second)


def test_several_pictures_and_several_videos_of_each(pipe, given) -> None:
    other = picture(shift=0.2)
    images = [read_image(given["image"]), other]
    out = frames(pipe, given, image=images, num_videos_per_prompt=2)
    assert out.shape == (4, 5, 64, 64, 3)
    assert np.array_equal(out[3], frames(pipe, given, image=other, seed=1)[0])


def test_noise_can_be_given(pipe, given) -> None:
    noise = frame_noise(5, (8, 16, 16), 0)[None]
    assert np.array_equal(frames(pipe, given, latents=noise), frames(pipe, given))
    assert not np.array_equal(frames(pipe, given, latents=-noise), frames(pipe, given))
    with pytest.raises(RequestError, match=r"expected a tensor of shape \(1, 5, 8, 16, 16\)"):
        frames(pipe, given, latents=noise[0])


def test_a_callback_sees_every_step_and_may_change_the_latents(pipe, given) -> None:
    seen = []

    def look(used: object, step: int, timestep: torch.Tensor, values: dict) -> dict:
        assert used is pipe
        seen.append((step, float(timestep), values["latents"].shape))
        assert pipe.preview(values["latents"][0, 0]).shape == (256, 256, 3)
        return values

    out = frames(pipe, given, callback_on_step_end=look)
    assert [step for step, _, _ in seen] == [0, 1]
    assert seen[0][1] > seen[1][1]
    assert seen[0][2] == (1, 5, 8, 16, 16)
    assert np.array_equal(out, frames(pipe, given))
    given["output_type"] = "latent"
    cleared = pipe(**given, callback_on_step_end=lambda *call: {"latents": 0 * call[3]["latents"]})
    assert not cleared.frames.any()


def test_a_callback_that_raises_leaves_a_usable_pipeline(pipe, given) -> None:
    before = frames(pipe, given)

    def fail(*call: object) -> dict:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        pipe(**given, callback_on_step_end=fail)
    assert np.array_equal(frames(pipe, given), before)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (3, "returned int; expected a dict"),
        ({"latents": torch.zeros(2)}, r"latents of \(2,\); expected \(1, 5, 8, 16, 16\)"),
        ({"latents": 1}, "latents of int"),
    ],
)
def test_a_callback_that_returns_something_else_is_told(pipe, given, answer, words) -> None:
    with pytest.raises(RequestError, match=words):
        pipe(**given, callback_on_step_end=lambda *call: answer)


def test_interrupting_ends_denoising_with_the_step(pipe, given) -> None:
    steps = []

    def stop(used: ControlNeXtVideoPipeline, step: int, *more: Any) -> None:
        steps.append(step)
        used.interrupt = True

    out = frames(pipe, given, callback_on_step_end=stop, num_inference_steps=4)
    assert steps == [0]
    assert out.shape[1] == 5
    assert not pipe.interrupt
    assert not np.array_equal(out, frames(pipe, given, num_inference_steps=4))


def test_two_threads_get_the_frames_of_calls_in_turn(pipe, given) -> None:
    wanted = [frames(pipe, given, seed=seed) for seed in (0, 1)]
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(frames, pipe, given, seed=seed) for seed in (0, 1, 0, 1)]
        streams = pool.submit(lambda: [*pipe.stream(**given)])
        results = [call.result(timeout=300) for call in calls]
    assert all(np.array_equal(results[n], wanted[n % 2]) for n in range(4))
    assert np.array_equal(np.stack(streams.result(timeout=300)), wanted[0][0])


def test_a_stream_that_is_left_early_holds_nobody_up(pipe, given) -> None:
    stream = pipe.stream(**given)
    next(stream)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(frames, pipe, given).result(timeout=300).shape[1] == 5
    stream.close()


def test_a_saved_pipeline_gives_the_same_frames(pipe, given, tmp_path) -> None:
    pipe.save_pretrained(tmp_path / "mine")
    again = ControlNeXtVideoPipeline.from_pretrained(tmp_path / "mine", device="cpu")
    again.set_progress_bar_config(disable=True)
    assert np.array_equal(frames(again, given), frames(pipe, given))
    with pytest.raises(ModelError, match="exists already"):
        pipe.save_pretrained(tmp_path / "mine")


def test_other_numbers_to_compute_with(pipe, given) -> None:
    assert pipe.dtype == torch.float32
    assert pipe.to(torch.bfloat16) is pipe
    assert pipe.dtype == torch.bfloat16
    coarse = frames(pipe, given)
    loaded = ControlNeXtVideoPipeline(pipe.animator)
    assert np.array_equal(frames(loaded, given), coarse)
    assert str(pipe.to("cpu").device) == "cpu"
    with pytest.raises(RequestError, match="not one of float32"):
        pipe.to(torch.float64)


def test_the_parts_have_diffusers_names(pipe) -> None:
    parts = pipe.components
    assert set(parts) == {"unet", "vae", "image_encoder", "controlnext", "scheduler"}
    assert type(pipe.unet).__name__ == "UNetSpatioTemporalConditionModel"
    assert pipe.unet is parts["unet"]


def test_without_motion_the_person_must_be_seen(pipe) -> None:
    with pytest.raises(MotionError, match="no person was found in image"):
        pipe(np.zeros((64, 64, 3), np.uint8))


def test_progress_is_shown_and_can_be_hidden(pipe, given, capsys) -> None:
    pipe(**given)
    assert capsys.readouterr().err == ""
    pipe.set_progress_bar_config(ncols=60)
    pipe(**given)
    shown = capsys.readouterr().err
    assert "denoise: 100%" in shown
    assert "decode: 100%" in shown


def test_adapters_change_frames_and_are_taken_out_again(pipe, given, tmp_path) -> None:
    from safetensors.torch import save_file

    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
    width = pipe.unet.get_submodule(layer).weight.shape[0]
    save_file(
        {
            f"unet.{layer}.lora_A.weight": torch.ones(2, width),
            f"unet.{layer}.lora_B.weight": torch.ones(width, 2),
        },
        tmp_path / "style.safetensors",
    )
    plain = frames(pipe, given)
    pipe.load_lora_weights(tmp_path, weight_name="style.safetensors", adapter_name="style")
    styled = frames(pipe, given)
    assert not np.array_equal(styled, plain)
    pipe.set_adapters("style", 0.0)
    assert pipe.get_active_adapters() == []
    assert np.array_equal(frames(pipe, given), plain)
    with pytest.raises(RequestError, match="adapter stile is not loaded; did you mean 'style'"):
        pipe.set_adapters(["stile"])
    pipe.unload_lora_weights()
    assert np.array_equal(frames(pipe, given), plain)
