"""Control pictures from a photo: by a depth model, and where nobody is in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from animate.cli.main import main
from animate.errors import MediaError, ModelError
from animate.media.image import read_image, write_png
from animate.request.values import Size
from animate.stills.control_pictures import MAKERS, ControlSource
from tests.toy_still import DESIGN, StillFiles


def source(photo: np.ndarray, **more: object) -> ControlSource:
    values = {"name": "photo.png", "size": Size(64, 64), "pose_style": "published", **more}
    return ControlSource(photo=photo, **values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """A wide picture whose left and right differ."""
    ramp = np.linspace(0, 255, 96).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (64, 96, 3)))


@pytest.fixture(scope="module")
def depth_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A depth estimator of transformers, DPT, of a test's size and with random weights."""
    from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessorPil

    folder = tmp_path_factory.mktemp("depth")
    torch.manual_seed(2)
    config = DPTConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=8, backbone_out_indices=[0, 1, 2, 3], is_hybrid=False,
        neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, reassemble_factors=[4, 2, 1, 0.5],
    )  # fmt: skip
    DPTForDepthEstimation(config).save_pretrained(folder, safe_serialization=True)
    DPTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_depth_is_a_grey_picture_of_the_photos_size(photo: np.ndarray, depth_model: Path) -> None:
    first = MAKERS["depth"](source(photo, depth_model=depth_model))
    assert (first.shape, first.dtype) == (photo.shape, np.uint8)
    assert (first == first[..., :1]).all()
    assert first.max() > first.min()
    again = MAKERS["depth"](source(photo, depth_model=depth_model))
    np.testing.assert_array_equal(again, first)
    turned = MAKERS["depth"](source(np.ascontiguousarray(photo[:, ::-1]), depth_model=depth_model))
    assert (turned != first).any()


def test_depth_is_made_by_the_command_and_written_beside_the_picture(
    photo: np.ndarray, depth_model: Path, toy_still: StillFiles, tmp_path: Path
) -> None:
    write_png(tmp_path / "photo.png", photo)
    command = [
        "still", "--prompt", "a room", "--output", str(tmp_path / "a.png"), "--model", DESIGN,
        "--base", str(toy_still.base), "--controlnext", str(toy_still.controlnext),
        "--control-from", str(tmp_path / "photo.png"), "--control-kind", "depth",
        "--depth-model", str(depth_model), "--steps", "1", "--device", "cpu", "--quiet",
    ]  # fmt: skip
    assert main(command) == 0
    expected = MAKERS["depth"](source(photo, depth_model=depth_model))
    np.testing.assert_array_equal(read_image(tmp_path / "a-depth.png"), expected)


def test_a_folder_that_is_no_depth_model_is_refused(
    photo: np.ndarray, toy_still: StillFiles, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"has no config\.json"):
        MAKERS["depth"](source(photo, depth_model=tmp_path))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError, match="pickles are not opened"):
        MAKERS["depth"](source(photo, depth_model=tmp_path))
    with pytest.raises(ModelError, match="cannot be used"):
        MAKERS["depth"](source(photo, depth_model=toy_still.base / "text_encoder"))


@pytest.mark.parametrize("kind", ["pose", "mask"])
def test_a_photo_without_anybody_is_said(kind: str, photo: np.ndarray) -> None:
    with pytest.raises(MediaError, match=r"nobody is seen in photo\.png; give another photo"):
        MAKERS[kind](source(photo))


def test_nobody_in_the_photo_leaves_nothing_behind(
    photo: np.ndarray, toy_still: StillFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_png(tmp_path / "photo.png", photo)
    command = [
        "still", "--output", str(tmp_path / "a.png"), "--model", DESIGN, "--base",
        str(toy_still.base), "--controlnext", str(toy_still.controlnext), "--control-from",
        str(tmp_path / "photo.png"), "--control-kind", "pose", "--device", "cpu",
    ]  # fmt: skip
    assert main(command) == 2
    assert "nobody is seen" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.png"]
