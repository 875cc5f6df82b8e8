"""Numbers that are not finite stop a clip where they appear: no black picture, the work kept."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from animate.errors import NotFiniteError
from animate.generate.clip_state import KeepsNothing
from animate.generate.decoding import decode
from animate.generate.pipeline import Engine, draw_noise, sample
from animate.generate.workers.worker import SerialWindows
from animate.models.components import Components
from animate.progress import Quiet
from tests.generate.workers.contract import SIZE, Scene, make_scene
from tests.scene import picture


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    torch.set_num_threads(1)
    return make_scene(tmp_path_factory.mktemp("model") / "toy", frames=8)


def broken(parts: Components, network: str, weights: str, value: float) -> Components:
    """The model with one number of one weight replaced."""
    changed = copy.deepcopy(getattr(parts, network))
    parameter = next(p for name, p in changed.named_parameters() if name.startswith(weights))
    parameter.data.view(-1)[0] = value
    return replace(parts, **{network: changed})


def make(scene: Scene, parts: Components, executor: Any = None) -> Iterator[Any]:
    engine = Engine(components=parts, device=torch.device("cpu"), executor=executor)
    settings = scene.settings(decode_chunk=4)
    latents = sample(engine, settings, picture(SIZE), scene.control, Quiet())
    return decode(engine, settings, latents, Quiet())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("network", "weights", "words"),
    [
        ("unet", "conv_out.weight", ("denoise", "UNet", "step 1 of 2, frames 0 to 4")),
        ("unet", "mid_block", ("denoise", "UNet", "step 1 of 2")),
        ("controlnext", "", ("denoise", "control network", "step 1 of 2")),
        ("image_encoder", "visual_projection", ("encode", "image encoder", "reference")),
        ("vae", "encoder.conv_in.weight", ("encode", "VAE", "reference")),
        ("vae", "decoder.time_conv_out.weight", ("decode", "VAE", "frames 0 to 3")),
        ("vae", "decoder.conv_in.weight", ("decode", "VAE", "frames 0 to 3")),
    ],
)
def test_the_stage_the_network_and_the_way_out_are_named(
    scene: Scene, network: str, weights: str, words: tuple[str, ...], value: float
) -> None:
    with pytest.raises(NotFiniteError) as stop:
        list(make(scene, broken(scene.parts, network, weights, value)))
    for word in (*words, "--precision bfloat16 or float32"):
        assert word in str(stop.value)


def test_workers_predictions_are_looked_at_too(scene: Scene) -> None:
    parts = broken(scene.parts, "unet", "conv_out.weight", float("nan"))
    with pytest.raises(NotFiniteError, match="step 1 of 2, frames 0 to 7"):
        list(make(scene, parts, SerialWindows()))


def test_an_infinite_frame_is_no_white_one_and_those_before_it_are_kept(scene: Scene) -> None:
    """What the decoder gives is clamped: an infinite number must be seen before that."""
    vae, calls, frames = copy.deepcopy(scene.parts.vae), [], []

    def overflow(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return output.fill_(float("inf")) if len(calls) == 2 else output

    class Keeps(KeepsNothing):
        def offer_frames(self, pictures: Any) -> None:
            frames.extend(pictures)

    vae.decoder.time_conv_out.register_forward_hook(overflow)
    engine = Engine(components=replace(scene.parts, vae=vae), device=torch.device("cpu"))
    settings = scene.settings(decode_chunk=4)
    latents = draw_noise(engine, settings, 8)
    with pytest.raises(NotFiniteError, match="frames 4 to 7"):
        list(decode(engine, settings, latents, Quiet(), Keeps()))
    assert len(frames) == 4


def test_errors_travel_from_worker_to_worker() -> None:
    import pickle

    error = NotFiniteError("decode", "frames 0 to 3", "VAE")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
