"""One contract for every model variant, with random weights of a test's size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from animate import AnimationRequest, AnimationResult, Animator
from animate.clip import keeper
from animate.media import open_video
from animate.models.variants import load_variant
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
