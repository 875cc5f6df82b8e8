"""Models laid out as MimicMotion: one file, a leading reference, guidance along the clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from animate import AnimationRequest, AnimationResult, Animator
from animate.errors import ModelError
from animate.generate.denoise import Steps
from animate.generate.schedules import make_scheduler
from animate.models.components import load_components, save_model
from animate.models.config import PoseNetConfig
from animate.models.pose_net import PoseNet
from animate.models.variants import load_variant, variant_names
from animate.request.values import Guidance
from temporal.published import published_plan
from tests.scene import write_scene
from tests.toy import SCHEDULER, toy_networks, toy_variant

SAMPLING = {
    "steps": 2,
    "window": 4,
    "overlap": 1,
    "guidance": "1:3",
    "schedule": "mimicmotion",
    "fusing": "triangular",
    "noise": "repeated",
    "decode_chunk": 4,
}
POSE_NET = {"channels": [8, 16, 32], "out_channels": 32}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy model whose UNet and pose network lie in one file, by prefixed names."""
    folder = tmp_path_factory.mktemp("model") / "toy"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        pose_net = PoseNet(PoseNetConfig(channels=(8, 16, 32), out_channels=32))
    variant = toy_variant(
        sampling=SAMPLING,
        controlnext=None,
        pose_net=POSE_NET,
        injection={"hook_point": "stem", "normalise": False, "pool": "none", "weight": 1.0},
        leading_reference=True,
        guidance_along="clip",
    )
    save_model(folder, variant, {**toy_networks(), "controlnext": pose_net})
    both = {
        f"{prefix}.{name}": tensor
        for prefix, part in (("unet", "unet"), ("pose_net", "controlnext"))
        for name, tensor in load_file(folder / part / "model.safetensors").items()
    }
    save_file(both, folder / "both.safetensors")
    values = yaml.safe_load((folder / "variant.yaml").read_text())
    for part, prefix in (("unet", "unet."), ("controlnext", "pose_net.")):
        values["components"][part] |= {"weights": ["both.safetensors"], "prefix": prefix}
        del values["digests"][f"{part}/model.safetensors"]
        (folder / part / "model.safetensors").unlink()
    (folder / "variant.yaml").write_text(yaml.safe_dump(values))
    return folder


@pytest.fixture(scope="module")
def animator(model: Path) -> Animator:
    return Animator.from_pretrained(model, device="cpu")


@pytest.fixture
def scene(tmp_path: Path) -> dict[str, Any]:
    files: dict[str, Any] = dict(write_scene(tmp_path))
    return {**files, "output": tmp_path / "clip.mkv", "codec": "ffv1", "retarget": "none"}


def run(animator: Animator, values: dict[str, Any], **changes: Any) -> AnimationResult:
    return animator(AnimationRequest.from_dict({**values, **changes}))


def digest(result: AnimationResult) -> str:
    return json.loads(result.sidecar.read_text())["output"]["frames_sha256"]


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 9])
def test_the_leading_frame_is_not_in_the_clip(
    animator: Animator, scene: dict[str, Any], frames: int
) -> None:
    assert run(animator, scene, max_frames=frames).frames == frames


def test_a_clip_of_any_length_is_the_same_by_one_or_more_windows_of_noise(
    animator: Animator, scene: dict[str, Any]
) -> None:
    first = digest(run(animator, scene))
    assert digest(run(animator, scene, overwrite=True)) == first
    assert digest(run(animator, scene, overwrite=True, noise="independent")) != first
    assert digest(run(animator, scene, overwrite=True, control_weight=0.0)) != first


def test_a_stopped_run_goes_on_to_the_same_frames(
    animator: Animator, scene: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from animate.clip import keeper

    whole = digest(run(animator, scene))
    monkeypatch.setattr(keeper, "_SHARE", 0)
    values = {**scene, "output": tmp_path / "again.mkv", "save_every": 0.0}
    decoded = keeper.FolderKeeper.offer_frames

    def stop(self: Any, pictures: np.ndarray) -> None:
        decoded(self, pictures)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(keeper.FolderKeeper, "offer_frames", stop)
        with pytest.raises(KeyboardInterrupt):
            run(animator, values)
    assert digest(run(animator, values)) == whole


def test_guidance_runs_along_the_clip() -> None:
    scheduler = make_scheduler(SCHEDULER, 2)
    plan = published_plan("mimicmotion", 9, window=4, overlap=1, steps=2)
    steps = Steps.of(scheduler, plan, Guidance(1.0, 3.0), along="clip")
    windows = plan.at(0)
    scale = steps.call(0, windows).scale
    assert scale is not None
    expected = [[1 + 2 * frame / 8 for frame in window.frames] for window in windows]
    np.testing.assert_allclose(scale, expected, rtol=1e-6)


def test_both_networks_come_of_one_file(model: Path) -> None:
    parts = load_components(load_variant(model))
    tensors = load_file(model / "both.safetensors")
    for network, prefix in ((parts.unet, "unet."), (parts.controlnext, "pose_net.")):
        for name, value in network.state_dict().items():
            torch.testing.assert_close(value, tensors[prefix + name].float())


def test_a_file_without_one_of_them_is_refused(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    folder.mkdir()
    for path in model.rglob("*"):
        if path.is_file() and path.name != "both.safetensors":
            (folder / path.relative_to(model)).parent.mkdir(exist_ok=True)
            (folder / path.relative_to(model)).write_bytes(path.read_bytes())
    tensors = load_file(model / "both.safetensors")
    half = {name: value for name, value in tensors.items() if name.startswith("unet.")}
    save_file(half, folder / "both.safetensors")
    with pytest.raises(ModelError, match=r"holds none of the .* tensors of a PoseNet"):
        load_components(load_variant(folder))


@pytest.mark.parametrize("name", [n for n in variant_names() if n.startswith("mimicmotion")])
def test_the_published_variants_say_what_their_command_line_says(name: str) -> None:
    variant = load_variant(name)
    defaults = variant.defaults
    assert (defaults.steps, defaults.overlap, defaults.guidance) == (25, 6, (2.0, 2.0))
    assert (defaults.noise, defaults.schedule) == ("repeated", "mimicmotion")
    assert tuple(variant.micro_conditions) == (6, 127, 0.0)
    assert variant.commercial is False
    assert defaults.window == {"mimicmotion-1": 16, "mimicmotion-1-1": 72}[name]
