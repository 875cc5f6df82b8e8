"""Adapters in a whole run: with every memory setting, recorded, refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from animate import AnimationRequest, Animator
from animate.cli.main import main
from animate.clip import make
from animate.errors import ModelError
from animate.media import open_video
from animate.request.request import RuntimeOptions
from animate.request.values import Lora
from tests.scene import write_scene
from tests.toy import toy_model

LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
LARGE = "down_blocks.0.resnets.0.spatial_res_block.conv1"
"""A layer that is large enough for 8-bit weights."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a scene, and an adapter that shows."""
    folder = tmp_path_factory.mktemp("lora")
    toy_model(folder / "toy")
    write_scene(folder, 5)
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"unet.{LAYER}.lora_A.weight": torch.randn(4, 32, generator=generator),
        f"unet.{LAYER}.lora_B.weight": torch.randn(32, 4, generator=generator),
        f"unet.{LARGE}.lora_A.weight": 0.3 * torch.randn(4, 32, 3, 3, generator=generator),
        f"unet.{LARGE}.lora_B.weight": 0.3 * torch.randn(32, 4, 1, 1, generator=generator),
    }
    save_file(tensors, folder / "style.safetensors")
    return folder


@pytest.fixture(scope="module")
def animator(place: Path) -> Animator:
    return Animator.from_pretrained(place / "toy")


def request(place: Path, name: str, *lora: Lora, **runtime: object) -> AnimationRequest:
    return AnimationRequest(
        reference=place / "reference.png",
        driving=place / "driving.mp4",
        poses=place / "poses.npz",
        output=place / f"{name}.mkv",
        codec="ffv1",
        retarget="none",
        model=str(place / "toy"),
        lora=lora,
        runtime=RuntimeOptions(**runtime),  # type: ignore[arg-type]
    )


def made(animator: Animator, one: AnimationRequest) -> tuple[np.ndarray, dict[str, object]]:
    result = animator(one)
    frames = np.stack([frame.image for frame in open_video(result.output).read()])
    return frames, json.loads(result.sidecar.read_text())


def test_a_clip_with_adapters_leaves_the_model_as_it_was(place: Path, animator: Animator) -> None:
    plain, record = made(animator, request(place, "plain"))
    assert record["model"]["lora"] == []  # type: ignore[index]
    style = Lora(place / "style.safetensors", 0.8)
    styled, told = made(animator, request(place, "styled", style))
    assert np.abs(styled.astype(int) - plain).max() > 3
    kept = told["model"]["lora"][0]  # type: ignore[index]
    assert (kept["weight"], kept["layers"]) == (0.8, 2)
    assert told["inputs"]["lora 1"] == kept["sha256"]  # type: ignore[index]
    assert told["digest"] != record["digest"]
    weaker = replace(request(place, "weak", replace_weight(style, 0.4)))
    assert made(animator, weaker)[1]["digest"] not in (told["digest"], record["digest"])
    again, _ = made(animator, request(place, "again"))
    np.testing.assert_array_equal(again, plain)


def replace_weight(lora: Lora, weight: float) -> Lora:
    return Lora(lora.path, weight)


def test_every_memory_setting_gives_the_same_clip(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An 8-bit model differs a little with and without adapters alike."""
    real = make.plan_clip_memory
    way = "none"

    def plan(*args: Any, **kwargs: Any) -> Any:
        """On a CPU nothing is planned to be offloaded, but it works there as well."""
        return replace(real(*args, **kwargs), offload=way)

    monkeypatch.setattr(make, "plan_clip_memory", plan)
    style = Lora(place / "style.safetensors", 0.8)
    own = Animator.from_pretrained(place / "toy")
    expected, _ = made(own, request(place, "whole", style))
    for name, options in (
        ("chunks", {"memory": 400 << 20}),
        ("stream", {"memory": 400 << 20}),
        ("model", {"memory": 400 << 20}),
        ("int8", {"precision": "int8"}),
    ):
        if name == "int8":
            own = Animator.from_pretrained(place / "toy", precision="int8")
        way = name if name in ("stream", "model") else "none"
        found, _ = made(own, request(place, name, style, **options))
        difference = np.abs(found.astype(int) - expected)
        assert difference.mean() < (4 if name == "int8" else 0.1), name


def test_another_architecture_ends_with_one_line(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = {
        f"unet.{LAYER}.lora_A.weight": torch.zeros(4, 320),
        f"unet.{LAYER}.lora_B.weight": torch.zeros(320, 4),
    }
    save_file(tensors, tmp_path / "large.safetensors")
    one = request(place, "never")
    given = ["run", "--reference", str(one.reference), "--driving", str(one.driving), "--poses",
             str(one.poses), "--output", str(one.output), "--model", str(one.model), "--retarget",
             "none", "--quiet"]  # fmt: skip
    for file, message in (
        (tmp_path / "large.safetensors", f"{LAYER} is for 320x320 where the UNet has 32x32"),
        (tmp_path / "none.safetensors", "does not exist"),
    ):
        assert main([*given, "--lora", f"{place}/style.safetensors:0.5", "--lora", str(file)]) == 2
        shown = capsys.readouterr().err
        assert message in shown
        assert shown.count("\n") == 1
    assert not one.output.exists()


def test_an_8_bit_model_is_not_added_to(place: Path) -> None:
    own = Animator.from_pretrained(place / "toy", precision="int8")
    made(own, request(place, "first", precision="int8"))
    with pytest.raises(ModelError, match="load the model again"):
        own(request(place, "second", Lora(place / "style.safetensors"), precision="int8"))
