"""Clips of a size that the model was not made for: said before the work, and enlarged."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from animate import AnimationRequest, Animator
from animate.errors import ModelError, RequestError
from animate.finish.enlarge import Upscaler, find_enlargement
from animate.generate.settings import settle, unusual_size
from animate.media import open_video
from animate.models.variants import load_variant
from animate.request.values import Size
from tests.scene import write_scene
from tests.toy import toy_model

CPU = torch.device("cpu")


def request(**values: Any) -> AnimationRequest:
    return AnimationRequest(reference="a.png", driving="b.mp4", output="c.mp4", **values)


def caution(size: str) -> str | None:
    tiny = load_variant("tiny")
    return unusual_size(settle(request(size=size), tiny, Size(96, 144)), tiny)


def test_a_size_the_model_was_not_made_for_is_said_with_the_way_out() -> None:
    large = caution("576x1024")
    assert large is not None
    assert "96x144, 96x160" in large
    assert "--enlarge-to 576x1024 generates at 96x176" in large
    assert "--size 96x144" in (caution("32x48") or "")
    assert caution("96x144") is None
    assert caution("128x128") is None


def test_a_clip_that_is_enlarged_is_generated_in_the_shape_of_the_enlarged_one() -> None:
    tiny = load_variant("tiny")
    assert settle(request(enlarge_to="1024x576"), tiny, Size(96, 144)).size == (176, 96)
    assert settle(request(enlarge_to="640x640"), tiny, Size(96, 144)).size == (96, 96)
    chosen = settle(request(enlarge_to="640x640", size="128x128"), tiny, Size(96, 144))
    assert chosen.size == (128, 128)


def test_enlarging_fills_another_shape_and_cuts_both_sides_alike() -> None:
    enlargement = find_enlargement(request(enlarge_to="90x160"), Size(32, 48), CPU)
    assert enlargement is not None
    frame = np.zeros((48, 32, 3), np.uint8)
    frame[:, :16] = 200
    large = enlargement.picture(frame)
    assert large.shape == (160, 90, 3)
    assert large[:, 40].min() > 100 > large[:, 50].max()


def test_frames_are_never_made_smaller() -> None:
    with pytest.raises(RequestError, match="64x20 is smaller than the frames of 32x48"):
        find_enlargement(request(enlarge_to="64x20"), Size(32, 48), CPU)
    assert find_enlargement(request(), Size(32, 48), CPU) is None


class Doubling(torch.nn.Module):
    """An upscaler by 2 that repeats every pixel."""

    scale, input_channels, output_channels = 2, 3, 3

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weight file, with a stand-in for the library that knows architectures."""
    loader = SimpleNamespace(load_from_state_dict=lambda state: Doubling())
    monkeypatch.setitem(sys.modules, "spandrel", SimpleNamespace(ModelLoader=lambda: loader))
    save_file({"a": torch.zeros(2)}, tmp_path / "up.safetensors")
    return tmp_path / "up.safetensors"


def test_tiles_of_an_upscaler_meet_without_a_seam(weights: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (270, 300, 3), np.uint8)
    large = Upscaler(weights, CPU)(frame)
    assert np.array_equal(large, frame.repeat(2, 0).repeat(2, 1))


def test_an_upscaler_alone_enlarges_by_its_own_factor(weights: Path) -> None:
    enlargement = find_enlargement(request(upscale=weights), Size(32, 48), CPU)
    assert enlargement is not None
    assert enlargement.size == (64, 96)
    both = find_enlargement(request(upscale=weights, enlarge_to="48x72"), Size(32, 48), CPU)
    assert both is not None
    assert both.picture(np.zeros((48, 32, 3), np.uint8)).shape == (72, 48, 3)


def test_what_is_no_upscaler_is_refused(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Doubling, "output_channels", 1)
    with pytest.raises(ModelError, match=r"up\.safetensors is no upscaler of RGB"):
        Upscaler(weights, CPU)


def test_a_missing_library_is_named(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(RequestError, match=r"cnx-animate\[upscale\]"):
        Upscaler(weights, CPU)


def test_a_clip_is_written_enlarged_with_its_reference_as_sharp_as_it_is(tmp_path: Path) -> None:
    toy_model(tmp_path / "toy")
    animator = Animator.from_pretrained(tmp_path / "toy", device="cpu")
    files: dict[str, Any] = dict(write_scene(tmp_path))
    side = tmp_path / "side.mkv"
    result = animator(
        AnimationRequest(
            **files,
            output=tmp_path / "clip.mp4",
            retarget="none",
            max_frames=2,
            size="64x64",
            enlarge_to="160x128",
            side_by_side=side,
        )
    )
    assert result.size == (160, 128)
    assert open_video(result.output).info.size == (160, 128)
    assert open_video(side).info.size == (480, 128)
