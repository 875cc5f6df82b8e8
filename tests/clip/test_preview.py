"""`--preview`: a picture that is there after every step, and colours that are fitted once."""

from __future__ import annotations

import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny

from animate import AnimationResult
from animate.animator import Animator
from animate.cli.run import preview_events
from animate.clip import preview as previews
from animate.driving.cache import PACES
from animate.errors import ModelError, RequestError
from animate.generate.preview import Preview, TinyDecoder
from animate.media import read_image
from animate.progress import JsonLines, Quiet, Remembering
from animate.request.request import AnimationRequest
from tests.scene import write_scene


@pytest.fixture
def scene(tmp_path: Path) -> dict[str, Any]:
    files: dict[str, Any] = dict(write_scene(tmp_path))
    files |= {"output": tmp_path / "clip.mp4", "preview": tmp_path / "look.png"}
    return {**files, "retarget": "none", "steps": 3, "cache": tmp_path / "cache"}


def frames_digest(result: AnimationResult) -> str:
    return json.loads(result.sidecar.read_text())["output"]["frames_sha256"]


def test_the_picture_is_there_after_every_step(animator: Animator, scene: dict[str, Any]) -> None:
    request, seen = AnimationRequest.from_dict(scene), []

    def look(preview: Preview) -> None:
        seen.append((preview.step, read_image(scene["preview"])))

    result = animator(request, on_preview=look)
    assert [step for step, _ in seen] == [1, 2, 3]
    scale = animator.engine.latent_scale
    height, width = result.size.height // scale * 3, result.size.width // scale * 3
    assert {picture.shape for _, picture in seen} == {(height, 4 * width, 3)}
    assert any(np.any(a != b) for (_, a), (_, b) in pairwise(seen))
    kept = [file for file in scene["cache"].glob("*.json") if file.name != PACES]
    assert len(kept) == 1
    before = kept[0].stat().st_mtime_ns
    animator(AnimationRequest.from_dict({**scene, "overwrite": True}))
    assert kept[0].stat().st_mtime_ns == before, "the colours are fitted once for a model"


def test_frames_are_the_same_with_and_without(animator: Animator, scene: dict[str, Any]) -> None:
    digests = {
        frames_digest(animator(AnimationRequest.from_dict({**scene, **changes})))
        for changes in ({}, {"preview": None, "overwrite": True})
    }
    assert len(digests) == 1


def test_a_preview_that_cannot_be_written_stops_nothing_and_is_said_once(
    animator: Animator, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise previews.MediaError("look.png cannot be written: no space left on device")

    monkeypatch.setattr(previews, "write_png", full)
    progress = Remembering(Quiet())
    assert animator(AnimationRequest.from_dict(scene), progress).frames == 12
    assert [w for w in progress.warnings if "preview" in w] == [
        "the preview is not renewed: look.png cannot be written: no space left on device"
    ]


def test_programs_are_told_of_the_file(animator: Animator, scene: dict[str, Any]) -> None:
    out = io.StringIO()
    request = AnimationRequest.from_dict(scene)
    animator(request, on_preview=preview_events(request, JsonLines(out)))
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"event": "preview", "step": n, "steps": 3, "file": str(scene["preview"])}
        for n in (1, 2, 3)
    ]
    assert preview_events(request, Quiet()) is None


def test_another_kind_of_file_and_one_that_is_there_are_refused(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=r"preview .*look.jpg must be named .png"):
        animator(AnimationRequest.from_dict({**scene, "preview": tmp_path / "look.jpg"}))
    with pytest.raises(RequestError, match="would overwrite the reference image"):
        animator(
            AnimationRequest.from_dict({**scene, "preview": scene["reference"], "overwrite": True})
        )


def tiny_decoder(folder: Path, animator: Animator, **changes: Any) -> Path:
    """A folder of a tiny autoencoder with random weights for the model's latents."""
    vae = animator.engine.components.vae
    blocks = len(vae.config.block_out_channels)
    sizes = {
        "latent_channels": vae.config.latent_channels,
        "encoder_block_out_channels": (8,) * blocks,
        "decoder_block_out_channels": (8,) * blocks,
        "num_encoder_blocks": (1,) * blocks,
        "num_decoder_blocks": (1,) * blocks,
    }
    AutoencoderTiny(**{**sizes, **changes}).save_pretrained(folder)
    return folder


def test_a_tiny_decoder_draws_frames_of_the_clips_size_and_changes_none(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    decoder = tiny_decoder(tmp_path / "taesd", animator)
    plain = animator(AnimationRequest.from_dict({**scene, "preview": None}))
    drawn = {**scene, "preview_decoder": decoder, "overwrite": True}
    seen: list[Preview] = []
    result = animator(AnimationRequest.from_dict(drawn), on_preview=seen.append)
    assert frames_digest(result) == frames_digest(plain)
    width, height = result.size
    assert {preview.pictures.shape for preview in seen} == {(4, height, width, 3)}
    assert read_image(scene["preview"]).shape == (height, 4 * width, 3)
    latents = torch.randn(1, animator.engine.components.vae.config.latent_channels, 4, 4)
    network = AutoencoderTiny.from_pretrained(decoder)
    with torch.no_grad():
        expected = network.decode(latents).sample[0].movedim(0, -1) * 127.5 + 127.5
    ours = TinyDecoder(network=network, side=animator.engine.latent_scale).picture(latents)[0]
    assert np.abs(ours - expected.clamp(0, 255).numpy()).max() <= 0.5 + 1e-3


def test_a_decoder_of_other_latents_and_a_folder_without_one_are_refused(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    def run(folder: Path, **changes: Any) -> AnimationResult:
        return animator(AnimationRequest.from_dict({**scene, "preview_decoder": folder, **changes}))

    with pytest.raises(ModelError, match=r"has no config.json and no diffusion_pytorch_model"):
        run(tmp_path)
    other = tiny_decoder(tmp_path / "other", animator, latent_channels=5)
    with pytest.raises(ModelError, match="latents of 5 channels"):
        run(other)
    (other / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    with pytest.raises(ModelError, match="is of AutoencoderKL, not of diffusers' AutoencoderTiny"):
        run(other)
    unused = run(other, preview=None, overwrite=True)
    assert any("--preview-decoder draws nothing" in warning for warning in unused.warnings)


def test_damaged_colours_are_fitted_again(animator: Animator, scene: dict[str, Any]) -> None:
    file = previews.colours_file(scene["cache"], animator.engine.components)
    assert file is not None
    good = previews.colours_of(animator.engine, file)
    for damage in ("", "{}", "[[1, 2], [3, 4]]"):
        file.write_text(damage)
        assert previews.colours_of(animator.engine, file).matrix.allclose(good.matrix)
