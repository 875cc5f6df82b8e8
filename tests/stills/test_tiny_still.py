"""The bundled text-to-image model: its files, its name, and that it does its job."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from animate.cli.main import main
from animate.files import sha256
from animate.media.image import read_image, write_png
from animate.models.stills import bundled_still, load_still_design, still_design_names
from animate.stills.base import choose_model
from animate.stills.pipeline import StillPipeline
from animate.training.samples import draw_control
from scripts.tiny_still.evaluate import figure, generate, held_out

FOLDER = bundled_still()
PEOPLE = 4


@pytest.fixture(scope="module")
def pipeline() -> StillPipeline:
    return StillPipeline.from_pretrained("tiny-still", device="cpu", precision="float32")


def test_it_is_whole_small_and_has_a_card() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 15e6
    assert not [path for path in files if path.suffix in (".bin", ".pt", ".ckpt", ".pkl")]
    design = load_still_design("tiny-still")
    for name, digest in design.digests.items():
        assert sha256(FOLDER / name) == digest
    for path in files:
        if path.suffix == ".safetensors":
            with safe_open(path, "np") as weights:
                names = list(weights.keys())
                assert all(np.isfinite(weights.get_tensor(name)).all() for name in names)
    card = (FOLDER / "README.md").read_text()
    assert "held-out" in card
    assert "Apache-2.0" in card


def test_it_is_the_first_of_the_list_and_what_auto_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert still_design_names()[0] == "tiny-still"
    model = choose_model("auto", controlled=True)
    assert (model.design.name, model.base) == ("tiny-still", FOLDER)
    assert model.controlnext is not None


def test_a_newcomers_command_makes_a_picture(tmp_path: Path) -> None:
    (scene,) = held_out(1, (64, 96))
    write_png(tmp_path / "pose.png", np.uint8(
        draw_control(scene.points, scene.scores, (64, 96), "small")[0]
    ))  # fmt: skip
    command = [
        "still", "--model", "tiny-still", "--prompt", scene.words.caption(), "--control",
        str(tmp_path / "pose.png"), "--output", str(tmp_path / "a.png"), "--device", "cpu",
    ]  # fmt: skip
    assert main([*command, "--quiet"]) == 0
    picture = read_image(tmp_path / "a.png")
    assert picture.shape == (96, 64, 3)
    assert picture.std() > 10


def test_a_picture_may_begin_from_another(pipeline: StillPipeline) -> None:
    (scene,) = held_out(1, (64, 96))
    begin = scene.pictures[0]
    pictures = [
        np.asarray(
            pipeline("a person", init=begin, strength=strength, steps=20, seed=1, size="64x96")
        )
        for strength in (0.2, 1.0)
    ]
    near, far = (np.abs(picture.astype(float) - begin).mean() for picture in pictures)
    assert near < far


def test_the_figure_stands_as_the_skeleton_does(pipeline: StillPipeline) -> None:
    scenes = held_out(PEOPLE, (64, 96))
    overlap = {}
    for controlled in (True, False):
        pictures = generate(pipeline, scenes, controlled=controlled)
        shapes = [figure(picture) for picture in pictures]
        truths = [scene.masks[0] > 127 for scene in scenes]
        overlap[controlled] = np.mean(
            [(a & b).sum() / (a | b).sum() for a, b in zip(shapes, truths, strict=True)]
        )
    assert overlap[True] > overlap[False]
