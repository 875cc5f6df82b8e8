"""Stills, IP-Adapter and the other animators against the published numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from animate.errors import ModelError
from scripts.parity.report import check_file

DATA = Path(__file__).parents[2] / "data" / "parity"
NAMES = (
    "controlnext_sd15t", "controlnext_sdxl", "ip_adapter", "mimicmotion", "stableanimator", "moore",
    # Of the same family as the first, and ten times as long.
    pytest.param("controlnext_sd15", marks=pytest.mark.slow),
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:There are modules in UNet2DConditionModel")
def test_everything_in_the_file_is_checked_and_agrees(name: str) -> None:
    report = check_file(DATA / f"{name}.safetensors")
    assert report.passed, "\n".join(report.lines())
    assert report.complete
    results = {n for n in load_file(DATA / f"{name}.safetensors") if "output" in n}
    assert {check.name for check in report.checks} >= results


@pytest.mark.parametrize(
    ("name", "tensor"),
    [("mimicmotion", "pipeline.poses"), ("controlnext_sd15t", "unet.large_control_image")],
)
def test_another_input_gives_other_numbers(name: str, tensor: str, tmp_path: Path) -> None:
    tensors = load_file(DATA / f"{name}.safetensors")
    with safe_open(DATA / f"{name}.safetensors", "pt") as file:
        settings = json.loads(file.metadata()["settings"])
    tensors[tensor] = torch.roll(tensors[tensor], 1, 0)
    save_file(tensors, tmp_path / "v.safetensors", metadata={"settings": json.dumps(settings)})
    report = check_file(tmp_path / "v.safetensors")
    assert not report.passed
    assert any(check.passed for check in report.checks)


def test_a_file_without_its_inputs_is_the_users_mistake(tmp_path: Path) -> None:
    tensors = load_file(DATA / "mimicmotion.safetensors")
    with safe_open(DATA / "mimicmotion.safetensors", "pt") as file:
        metadata = file.metadata()
    del tensors["unet.sample"]
    save_file(tensors, tmp_path / "v.safetensors", metadata=metadata)
    with pytest.raises(ModelError, match=r"it lacks 'unet\.sample'"):
        check_file(tmp_path / "v.safetensors")
