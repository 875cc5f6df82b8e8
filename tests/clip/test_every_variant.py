"""One contract for every model variant, with random weights of a test's size."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from animate import AnimationRequest, AnimationResult, Animator
from animate.cli.main import main
from animate.clip import keeper
from animate.clip.record import sidecar_path
from animate.errors import ModelError, WindowError
from animate.generate.workers.worker import SerialWindows
from animate.media import open_video
from animate.models.components import load_components
from animate.models.variants import load_variant, variant_names
from temporal.chunked import Chunks
from temporal.estimate import unet_peak
from tests.clip.full_size import config_of, context_tokens, tracked_work
from tests.face_networks import picture_with_faces, write_face_networks
from tests.scene import write_scene
from tests.small_models import distinct_names, small_model

FRAMES = 7
"""More than one window, none of whose borders is the clip's end."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("scene")
    return {**write_scene(folder), "faces": write_face_networks(folder / "faces")}


@pytest.fixture(scope="module", params=distinct_names())
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / request.param
    small_model(request.param, folder)
    return folder


@pytest.fixture(scope="module")
def animator(model: Path) -> Animator:
    return Animator.from_pretrained(model, device="cpu")


@pytest.fixture
def values(files: dict[str, Any], model: Path, tmp_path: Path) -> dict[str, Any]:
    named = {name: files[name] for name in ("reference", "driving", "poses")}
    face = {"identity_folder": files["faces"]} if load_variant(model).face else {}
    if face:  # as large as the clip, and with a face
        named["reference"] = tmp_path / "face.png"
        cv2.imwrite(str(named["reference"]), picture_with_faces((24, 16))[..., ::-1])
    return {
        **named,
        **face,
        "output": tmp_path / "clip.mkv",
        "codec": "ffv1",
        "retarget": "none",
        "max_frames": FRAMES,
        "model": str(model),
    }


def run(animator: Animator, values: dict[str, Any], **changes: Any) -> AnimationResult:
    return animator(AnimationRequest.from_dict({**values, "overwrite": True, **changes}))


def digest(result: AnimationResult) -> str:
    return json.loads(result.sidecar.read_text())["output"]["frames_sha256"]


def pictures(result: AnimationResult) -> np.ndarray:
    return np.stack([frame.image for frame in open_video(result.output).read()]).astype(int)


def forget_digest(folder: Path, file: str) -> None:
    """Take out of the variant what it says of a file."""
    variant = yaml.safe_load((folder / "variant.yaml").read_text())
    variant["digests"].pop(file, None)
    (folder / "variant.yaml").write_text(yaml.safe_dump(variant))


def stop_after(monkeypatch: pytest.MonkeyPatch, method: str, times: int) -> None:
    """Ctrl-C at the `times`-th offer of that kind."""
    offered = getattr(keeper.FolderKeeper, method)
    count = 0

    def stop(self: Any, *arguments: Any, **named: Any) -> None:
        nonlocal count
        offered(self, *arguments, **named)
        count += 1
        if count == times:
            raise KeyboardInterrupt

    monkeypatch.setattr(keeper.FolderKeeper, method, stop)


def test_a_clip_shorter_than_a_window_and_one_of_several_are_made(
    animator: Animator, values: dict[str, Any]
) -> None:
    short = run(animator, values, max_frames=2)
    assert short.frames == 2
    long = run(animator, values)
    assert long.frames == FRAMES
    levels = pictures(long)
    assert levels.std() > 1
    assert np.abs(levels[0] - levels[-1]).max() > 0


def test_guidance_of_one_or_less_is_run(animator: Animator, values: dict[str, Any]) -> None:
    digests = {g: digest(run(animator, values, guidance=g, max_frames=3)) for g in ("1", "0.5")}
    assert digests["1"] != digests["0.5"]


def test_a_stopped_run_goes_on_to_the_same_frames(
    animator: Animator, values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = digest(run(animator, values))
    monkeypatch.setattr(keeper, "_SHARE", 0)
    again = {**values, "output": tmp_path / "again.mkv", "save_every": 0.0}
    with monkeypatch.context() as patch:
        stop_after(patch, "offer_state", 3)
        with pytest.raises(KeyboardInterrupt):
            run(animator, again)
    resumed = run(animator, again)
    assert digest(resumed) == whole
    assert json.loads(resumed.sidecar.read_text())["resumed"]


def test_weights_that_are_no_numbers_and_files_that_lack_some_are_refused(
    model: Path, tmp_path: Path
) -> None:
    for name in load_variant(model).networks:
        folder = tmp_path / name
        copytree(model, folder)
        file = folder / name / "model.safetensors"
        whole = load_file(file)
        first = next(key for key, value in whole.items() if value.is_floating_point())
        for tensors, fault in (
            ({**whole, first: torch.full_like(whole[first], torch.nan)}, "holds NaN"),
            ({key: value for key, value in whole.items() if key != first}, "lacks 1 tensors"),
        ):
            save_file(tensors, file)
            forget_digest(folder, f"{name}/model.safetensors")
            with pytest.raises(ModelError, match=fault):
                load_components(load_variant(folder))
        rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("window", [1, 2, 4, 9])
def test_every_length_against_window_and_overlap(
    animator: Animator, values: dict[str, Any], window: int
) -> None:
    """Lengths below, at and above a window, and those at which another window begins."""
    for overlap in sorted({0, 1, window - 1} & set(range(window))):
        for frames in (1, 2, window, window + 1, 2 * window - overlap, 2 * window + 1):
            sizes = {"window": window, "overlap": overlap, "max_frames": frames, "steps": 1}
            if window == 1 and needs_two(animator, frames):
                with pytest.raises(WindowError, match="the smallest window is 2"):
                    run(animator, values, **sizes)
                continue
            assert run(animator, values, **sizes).frames == min(frames, 12), sizes


def needs_two(animator: Animator, frames: int) -> bool:
    """True where windows of one frame would hold frame 0 alone, and the clip has more."""
    variant = animator.engine.components.variant
    return variant.sampling.schedule == "mimicmotion" and frames + variant.leading_reference > 1


@pytest.mark.slow
def test_windows_computed_by_a_worker_give_the_same_bits(
    animator: Animator, values: dict[str, Any]
) -> None:
    alone = digest(run(animator, values))
    animator.executor = SerialWindows()
    try:
        assert digest(run(animator, values)) == alone
    finally:
        animator.executor = None


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray")
def test_ray_workers_give_the_same_bits_however_many(
    animator: Animator, values: dict[str, Any]
) -> None:
    digests = {digest(run(animator, values, workers=count, threads=1)) for count in (1, 2)}
    animator.close()
    assert digests == {digest(run(animator, values, threads=1))}


@pytest.mark.slow
def test_kept_features_and_adapters_change_the_frames_and_go_again(
    animator: Animator, values: dict[str, Any], tmp_path: Path
) -> None:
    plain = digest(run(animator, values, steps=3))
    layer = next(
        name
        for name, module in animator.engine.components.unet.named_modules()
        if name.endswith("attn1.to_q")
    )
    width = animator.engine.components.unet.get_submodule(layer).in_features
    tensors = {
        f"unet.{layer}.lora_A.weight": torch.ones(2, width),
        f"unet.{layer}.lora_B.weight": torch.ones(width, 2),
    }
    save_file(tensors, tmp_path / "style.safetensors")
    for changes in ({"keep_features": 2}, {"lora": [f"{tmp_path}/style.safetensors"]}):
        assert digest(run(animator, values, steps=3, **changes)) != plain, changes
    assert digest(run(animator, values, steps=3)) == plain


@pytest.mark.slow
def test_a_batch_gives_the_frames_of_single_runs(
    animator: Animator, values: dict[str, Any], model: Path, tmp_path: Path
) -> None:
    expected = digest(run(animator, values))
    common = {k: str(v) if isinstance(v, Path) else v for k, v in values.items() if k != "output"}
    rows = [{**common, "output": f"{n}.mkv", "seed": n} for n in (0, 1)]
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["batch", str(manifest), "--output-dir", str(tmp_path), "--quiet"]) == 0
    digests = [
        json.loads(sidecar_path(tmp_path / f"{n}.mkv").read_text())["output"]["frames_sha256"]
        for n in (0, 1)
    ]
    assert digests[0] == expected != digests[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", variant_names())
def test_a_plan_at_full_size_needs_no_weights(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--model", name, "--memory", "48GiB"]) == 0
    text = capsys.readouterr().out
    assert "peak, denoise" in text
    assert "windows together" in text


def full_size_names() -> list[str]:
    """One variant for every full-size call of a UNet: that of `svd-v2-fp16` is `svd-v2`'s."""
    calls: dict[Any, str] = {}
    for name in variant_names():
        variant = load_variant(name)
        face = variant.face is not None
        key = (variant.family, face, variant.sizes[0], variant.sampling.window)
        if name != "tiny":
            calls.setdefault(key, name)
    return list(calls.values())


@pytest.mark.slow
@pytest.mark.timeout(3600)  # torch's tracker looks at every operation
@pytest.mark.parametrize("halves", [2, 1])
@pytest.mark.parametrize("name", full_size_names())
def test_the_predicted_peak_at_full_size_is_the_trackers(name: str, halves: int) -> None:
    """Both halves together and whole, and one half in pieces, at the native size and window."""
    variant = load_variant(name)
    width, height = (side // 8 for side in variant.sizes[0])
    chunks = None if halves == 2 else Chunks(frames=4, pixels=2048, tokens=16384)
    call = {"size": (width, height), "frames": variant.sampling.window, "chunks": chunks}
    tracked = tracked_work(variant, halves=halves, **call)
    predicted = unet_peak(
        config_of(variant),
        batch=halves,
        element=2,
        motion=variant.family == "reference-net",
        context_tokens=context_tokens(variant),
        **call,
    )
    assert predicted == pytest.approx(tracked, rel=0.05)
