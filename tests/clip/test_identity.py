"""Models that are given the reference's face."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from animate import AnimationRequest, AnimationResult, Animator
from animate.cli.main import main
from animate.driving.skeletons import ControlFrames, DrawnSkeletons
from animate.errors import ModelError, RequestError
from animate.generate.conditioning import Conditioning
from animate.generate.network import ClipWork, networks_for
from animate.generate.pipeline import encode, plan_work
from animate.generate.schedules import make_scheduler
from animate.generate.settings import settle
from animate.models.identity_attention import IdentityAttention, ImageTokenOnly
from animate.progress import Quiet
from animate.request.values import Size
from temporal.constant_attention import constant_cross_attention
from temporal.errors import TemporalError
from tests.face_networks import PROFILE, WIDTH, picture_with_faces, write_face_networks
from tests.scene import poses, write_scene
from tests.small_models import small_model
from tests.toy import toy_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("identity")
    small_model("stableanimator", folder / "model")
    write_face_networks(folder / "faces")
    write_scene(folder)
    for name, corners in (
        ("face", [(24, 16)]), ("other", [(16, 24)]), ("three", [(8, 8), (40, 8), (24, 40)]),
        ("nobody", []),
    ):  # fmt: skip
        cv2.imwrite(str(folder / f"{name}.png"), picture_with_faces(*corners)[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def animator(folder: Path) -> Animator:
    return Animator.from_pretrained(folder / "model", device="cpu")


def request(folder: Path, output: Path, **changes: Any) -> AnimationRequest:
    values = {
        "reference": folder / "face.png",
        "driving": folder / "driving.mp4",
        "poses": folder / "poses.npz",
        "output": output / "clip.mkv",
        "model": folder / "model",
        "retarget": "none",
        "codec": "ffv1",
        "max_frames": 2,
        "steps": 1,
        "identity_folder": folder / "faces",
        "overwrite": True,
    }
    return AnimationRequest.from_dict({**values, **changes})


def record(result: AnimationResult) -> dict[str, Any]:
    return json.loads(result.sidecar.read_text())


def digest(result: AnimationResult) -> str:
    return record(result)["output"]["frames_sha256"]


def test_the_face_decides_the_frames_and_its_weight_how_much(
    animator: Animator, folder: Path, tmp_path: Path
) -> None:
    own = record(animator(request(folder, tmp_path)))
    first = own["output"]["frames_sha256"]
    for changes in (
        {"identity": folder / "other.png"},
        {"identity_weight": 0.5},
        {"identity_weight": 0},
    ):
        changed = animator(request(folder, tmp_path, **changes))
        assert digest(changed) != first, changes
        assert record(changed)["digest"] != own["digest"]
    same = animator(request(folder, tmp_path, identity=folder / "face.png"))
    assert digest(same) == first
    assert record(same)["inputs"]["identity"] == record(same)["inputs"]["reference"]


def test_a_picture_without_a_face_is_said_and_runs(
    animator: Animator, folder: Path, tmp_path: Path
) -> None:
    result = animator(request(folder, tmp_path, identity=folder / "nobody.png"))
    assert any("no face is seen in" in warning for warning in result.warnings)
    nobody = record(result)["output"]["frames_sha256"]
    assert nobody != digest(animator(request(folder, tmp_path)))


def test_of_several_faces_one_is_taken_and_that_is_said(
    animator: Animator, folder: Path, tmp_path: Path
) -> None:
    notes: list[str] = []

    class Heard(Quiet):
        def note(self, text: str) -> None:
            notes.append(text)

    animator(request(folder, tmp_path, identity=folder / "three.png"), Heard())
    assert any("largest of 3 faces" in note for note in notes)


def test_a_profile_is_said_and_runs(animator: Animator, folder: Path, tmp_path: Path) -> None:
    networks = write_face_networks(tmp_path / "faces", points=PROFILE)
    result = animator(request(folder, tmp_path, identity_folder=networks))
    (said,) = [warning for warning in result.warnings if "from the side" in warning]
    assert "face.png" in said
    assert "--identity" in said
    assert result.frames == 2


def test_without_the_face_networks_nothing_is_begun(
    animator: Animator, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=r"--identity-folder, or give no face"):
        animator(request(folder, tmp_path, identity_folder=None))
    arguments = ["--reference", folder / "face.png", "--driving", folder / "driving.mp4"]
    arguments += ["--output", tmp_path / "clip.mkv", "--model", folder / "model"]
    assert main(["run", *map(str, arguments), "--quiet"]) == 2
    assert "non-commercial" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    without = animator(request(folder, tmp_path, identity_folder=None, identity_weight=0))
    assert without.frames == 2


def test_a_model_that_is_given_no_face_refuses_one(folder: Path, tmp_path: Path) -> None:
    toy_model(tmp_path / "toy")
    toy = Animator.from_pretrained(tmp_path / "toy", device="cpu")
    own: dict[str, Any] = {"model": tmp_path / "toy", "identity_folder": None}
    with pytest.raises(RequestError, match=r"--identity is for models that are given a face"):
        toy(request(folder, tmp_path, **own, identity=folder / "face.png"))
    with pytest.raises(RequestError, match=r"--identity-weight is for models"):
        toy(request(folder, tmp_path, **own, identity_weight=0.5))


def work_of(animator: Animator, folder: Path, tmp_path: Path, **changes: Any) -> ClipWork:
    engine, variant = animator.engine, animator.engine.components.variant
    settings = settle(request(folder, tmp_path, **changes), variant, Size(64, 64))
    vector = np.ones(WIDTH, np.float32)
    conditioning = encode(engine, settings, picture_with_faces((24, 16)), Quiet(), vector)
    control = ControlFrames(DrawnSkeletons(poses(4), Size(64, 64), variant.pose_style))
    scheduler = make_scheduler(variant.scheduler, settings.steps)
    return plan_work(engine, settings, conditioning, control, scheduler)


def test_the_unconditional_half_has_zero_tokens(
    animator: Animator, folder: Path, tmp_path: Path
) -> None:
    conditioning = work_of(animator, folder, tmp_path).conditioning
    assert conditioning.embedding.shape == (1, 5, 16)
    assert conditioning.embedding[0, 1:].abs().min() > 0
    blank: Conditioning = conditioning.unconditional()
    assert blank.embedding.shape == (1, 5, 16)
    assert blank.embedding.abs().max() == 0


def test_face_tokens_reach_spatial_attention_alone_and_the_unet_is_stock_afterwards(
    animator: Animator, folder: Path, tmp_path: Path
) -> None:
    parts = animator.engine.components
    before = dict(parts.unet.attn_processors)
    with networks_for(parts, work_of(animator, folder, tmp_path), CPU):
        for name, processor in parts.unet.attn_processors.items():
            if name.endswith("attn1.processor"):
                assert processor is before[name]
            elif ".temporal_transformer_blocks." in name:
                assert isinstance(processor, ImageTokenOnly)
            else:
                assert isinstance(processor, IdentityAttention)
    assert parts.unet.attn_processors == before
    assert not any("id_to_k" in name for name, _ in parts.unet.named_parameters())


def test_the_shortcut_of_one_token_is_off_with_face_tokens(
    animator: Animator, folder: Path, tmp_path: Path
) -> None:
    """With face tokens a cross-attention's result depends on the pixel, so it is no constant."""
    parts = animator.engine.components
    layer = next(m for n, m in parts.unet.named_modules() if n.endswith("blocks.0.attn2"))
    spread: dict[str, float] = {}

    def watch(name: str) -> Any:
        def hook(module: Any, arguments: Any, output: torch.Tensor) -> None:
            spread[name] = float(output.std(1, correction=0).max())
            spread[f"{name} pixels"] = output.shape[1]

        return layer.register_forward_hook(hook)

    for name, weight in (("face", 1.0), ("image alone", 0.0)):
        work = work_of(animator, folder, tmp_path, identity_weight=weight)
        handle = watch(name)
        with torch.no_grad(), networks_for(parts, work, CPU) as networks:
            call = work.steps.call(0, work.steps.plan.at(0))
            sample = torch.randn(1, 4, 8, 16, 16, generator=torch.Generator().manual_seed(0))
            networks.predict(sample, None, call)
        handle.remove()
    assert spread["face pixels"] > 1
    assert spread["face"] > 1e-3
    assert spread["image alone pixels"] == 1, "there the shortcut is on"


def test_the_shortcut_refuses_a_context_with_face_tokens(animator: Animator) -> None:
    unet = animator.engine.components.unet
    with (
        constant_cross_attention(unet),
        pytest.raises(TemporalError, match="only for a context of one token"),
    ):
        unet(torch.zeros(1, 4, 16, 8, 8), 1.0, torch.zeros(1, 5, 16), torch.zeros(1, 3))
