"""Drawing, alignment and DWPose's processing against the published numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from scripts.parity.report import check_file

FILE = Path(__file__).parents[2] / "data" / "parity" / "pose.safetensors"


@pytest.fixture(scope="module")
def vectors() -> tuple[dict[str, torch.Tensor], dict]:
    with safe_open(FILE, "pt") as file:
        return load_file(FILE), json.loads(file.metadata()["settings"])


def report(tmp_path, tensors, settings):
    path = tmp_path / "vectors.safetensors"
    save_file(tensors, path, metadata={"settings": json.dumps(settings)})
    return check_file(path)


def test_everything_in_the_file_is_checked_and_agrees():
    checked = check_file(FILE)
    assert checked.complete
    assert checked.passed, "\n".join(checked.lines())
    assert len(checked.checks) == 12
    worst = max(c.difference for c in checked.checks if "image" not in c.name)
    assert worst < 1e-9


def only(tensors, prefix):
    return {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def test_any_number_of_drawings_is_checked(vectors, tmp_path):
    tensors, settings = vectors
    many = {
        name.replace("draw1.", f"draw{number}."): tensor.clone()
        for number in (0, 7, 12)
        for name, tensor in only(tensors, "draw1.").items()
    }
    checked = report(tmp_path, many, settings)
    assert [c.name for c in checked.checks] == ["draw0.image", "draw7.image", "draw12.image"]
    assert checked.passed


def test_a_picture_that_differs_in_enough_pixels_fails(vectors, tmp_path):
    tensors, settings = vectors
    image = tensors["draw2.image"].clone()
    count = image.shape[0] * image.shape[1]
    few, many = int(count * 0.004), int(count * 0.006)
    for changed, passed in ((few, True), (many, False)):
        wrong = image.clone().reshape(-1, 3)
        wrong[:changed, 0] ^= 64
        altered = only(tensors, "draw2.") | {"draw2.image": wrong.reshape(image.shape)}
        assert report(tmp_path, altered, settings).passed is passed


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("retarget.expected_hands", 2e-5),  # of a picture, so some thousandths of a pixel
        ("dwpose.keypoints", 2e-3),
        ("dwpose.boxes", 2e-3),
        ("dwpose.scores", 2e-3),
    ],
)
def test_keypoints_are_held_to_a_thousandth_of_a_pixel(vectors, tmp_path, name, change):
    tensors, settings = vectors
    altered = only(tensors, name.partition(".")[0]) | {name: tensors[name] + change}
    checked = report(tmp_path, altered, settings)
    assert not checked.passed
    assert [c.name for c in checked.checks if not c.passed] == [name]


def test_one_person_or_none_are_people_too(vectors, tmp_path):
    tensors, settings = vectors
    dwpose = only(tensors, "dwpose.")
    rows = dwpose["dwpose.detector_output"].clone()
    first = check_people(dwpose, rows, settings, tmp_path)
    rows[..., 4] = -9  # nobody is sure enough
    nobody = check_people(dwpose, rows, settings, tmp_path)
    assert first["boxes"].passed
    assert not nobody["boxes"].passed
    assert "(0, 4)" in nobody["boxes"].note
    # The whole frame stands in for a person, so there is one.
    assert "(1, 134, 2)" in nobody["keypoints"].note


def check_people(dwpose, rows, settings, tmp_path):
    checked = report(tmp_path, dwpose | {"dwpose.detector_output": rows}, settings)
    return {check.name.removeprefix("dwpose."): check for check in checked.checks}


def test_what_cannot_be_checked_is_named_with_the_reason(vectors, tmp_path):
    tensors, settings = vectors
    kept = only(tensors, "draw0.") | only(tensors, "dwpose.") | only(tensors, "retarget.")
    for name in ("draw0.face", "dwpose.detector_output", "retarget.reference_body"):
        del kept[name]
    kept |= {"dwpose.colour": torch.ones(1), "strange": torch.ones(1)}
    checked = report(tmp_path, kept, settings)
    text = "\n".join(checked.lines())
    for line in (
        "not checked  draw0.image: the file lacks draw0.face",
        "not checked  dwpose.keypoints: the file lacks dwpose.detector_output",
        "not checked  retarget.expected_body: the file lacks retarget.reference_body",
        "not checked  dwpose.colour: no meaning known",
        "not checked  strange: no meaning known",
    ):
        assert line in text
    assert checked.passed
    assert not checked.complete
    assert np.isclose(next(c for c in checked.checks if not c.skipped).difference, 0)
