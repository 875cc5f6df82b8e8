"""A script that was written for diffusers, run by diffusers and, its first line changed, here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from animate.animator import Animator
from animate.models.components import build_network
from tests.pipeline.figure import FigureEstimator
from tests.scene import picture
from tests.toy import IMAGE_ENCODER, SCHEDULER, toy_networks

SCRIPT = """\
from diffusers import StableVideoDiffusionPipeline
import torch
from diffusers.utils import export_to_video, load_image

pipe = StableVideoDiffusionPipeline.from_pretrained(MODEL, torch_dtype=torch.float32)
pipe = pipe.to("cpu")
pipe.set_progress_bar_config(disable=True)
image = load_image(IMAGE).resize((64, 64))

steps = []


def on_step(pipe, step, timestep, tensors):
    steps.append((step, tuple(tensors["latents"].shape)))
    return tensors


generator = torch.manual_seed(42)
out = pipe(image, 64, 64, 6, 2, decode_chunk_size=4, generator=generator)
frames = out.frames[0]
export_to_video(frames, CLIP, fps=7)

settings = dict(
    height=64,
    width=64,
    num_frames=5,
    num_inference_steps=2,
    min_guidance_scale=1.0,
    max_guidance_scale=2.0,
    fps=7,
    motion_bucket_id=127,
    noise_aug_strength=0.02,
    num_videos_per_prompt=1,
)
arrays = pipe(
    image,
    **settings,
    generator=[torch.Generator().manual_seed(1)],
    output_type="np",
    callback_on_step_end=on_step,
    callback_on_step_end_tensor_inputs=["latents"],
).frames
tensor = pipe(image=[image], output_type="pt", **settings)["frames"]
[latents] = pipe(image, output_type="latent", return_dict=False, **settings)
noise = torch.randn(1, 5, 8, 16, 16, generator=torch.Generator().manual_seed(3))
noised = pipe(image, latents=noise, output_type="np", **settings)[0]

unet, vae, scheduler = pipe.unet, pipe.components["vae"], pipe.scheduler
width = unet.config.num_frames, vae.config.scaling_factor, type(scheduler).__name__
pipe.maybe_free_model_hooks()
"""
CHANGED = "from animate import ControlNeXtVideoPipeline as StableVideoDiffusionPipeline"


def outcome(script: str, **given: object) -> dict[str, Any]:
    """The variables of a script that has run."""
    variables: dict[str, Any] = dict(given)
    exec(compile(script, "script", "exec"), variables)
    return variables


@pytest.fixture
def stock(tmp_path: Path) -> Path:
    """A folder of diffusers' own pipeline with small random weights."""
    from diffusers import EulerDiscreteScheduler, StableVideoDiffusionPipeline
    from transformers import CLIPImageProcessor

    networks = toy_networks()
    networks.pop("controlnext")
    # diffusers resizes for the published encoder alone.
    networks["image_encoder"] = build_network("image_encoder", {**IMAGE_ENCODER, "image_size": 224})
    scheduler = EulerDiscreteScheduler.from_config(SCHEDULER)
    pipe = StableVideoDiffusionPipeline(
        **networks, scheduler=scheduler, feature_extractor=CLIPImageProcessor()
    )
    pipe.save_pretrained(tmp_path / "stock")
    return tmp_path / "stock"


@pytest.mark.filterwarnings("ignore")  # diffusers' and transformers' own, of small networks
def test_a_script_for_diffusers_runs_with_its_first_line_changed(
    toy: Path, stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Animator, "estimator", lambda self, request: FigureEstimator())
    Pillow.fromarray(picture()).save(tmp_path / "image.png")
    given = {"IMAGE": str(tmp_path / "image.png"), "CLIP": str(tmp_path / "clip.mp4")}
    theirs = outcome(SCRIPT, MODEL=str(stock), **given)
    first, rest = SCRIPT.split("\n", 1)
    assert first == "from diffusers import StableVideoDiffusionPipeline"
    ours = outcome(f"{CHANGED}\n{rest}", MODEL=str(toy), **given)
    assert [frame.size for frame in ours["frames"]] == [frame.size for frame in theirs["frames"]]
    for name in ("arrays", "tensor", "latents", "noised"):
        assert ours[name].shape == theirs[name].shape, name
        assert ours[name].dtype == theirs[name].dtype, name
    assert ours["steps"] == theirs["steps"]
    assert ours["width"] == theirs["width"]
    assert not np.array_equal(ours["arrays"], theirs["arrays"])  # other networks, not the same call
