"""A reference that is made anew before it is animated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from animate import AnimationRequest, Animator
from animate.cli.main import main
from animate.clip.restyle import OneStage, seen_in
from animate.errors import ModelError, MotionError
from animate.media import read_image
from animate.progress import RESTYLED, FarmLines
from tests.scene import write_scene
from tests.toy import toy_model
from tests.toy_still import write_still_model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    toy_model(folder / "video")
    return {"video": folder / "video", "still": write_still_model(folder / "still")}


def test_the_still_is_a_small_part_of_a_farms_percent(capsys: pytest.CaptureFixture[str]) -> None:
    progress = OneStage(FarmLines("deadline"))
    progress.expect(RESTYLED)
    with progress.stage("denoising", 20) as stage:
        stage.advance(20)
    assert capsys.readouterr().out.endswith("Progress: 5%\n")


@pytest.fixture
def scene(tmp_path: Path, models: dict[str, Path]) -> dict[str, Any]:
    return {
        **write_scene(tmp_path),
        "output": tmp_path / "clip.mp4",
        "retarget": "none",
        "max_frames": 2,
        "restyle": "a dancer in ink",
        "still_model": models["still"],
    }


def test_the_clip_is_made_of_the_new_reference(
    scene: dict[str, Any], models: dict[str, Path]
) -> None:
    animator = Animator.from_pretrained(models["video"], device="cpu")
    result = animator(AnimationRequest.from_dict(scene))
    folder = result.output.parent
    record = json.loads(result.sidecar.read_text())
    assert record["request"]["reference"].endswith("clip-reference.png")
    still = json.loads((folder / "clip-reference.json").read_text())
    assert still["request"]["prompt"] == "a dancer in ink"
    assert still["pictures"]["clip-reference.png"]["sha256"] == record["inputs"]["reference"]
    before = read_image(folder / "clip-reference.png")
    assert read_image(folder / "clip-reference-pose.png").any()

    plain = {**scene, "output": folder / "plain.mp4", "restyle": None}
    other = animator(AnimationRequest.from_dict(plain))
    digests = [
        json.loads(done.sidecar.read_text())["output"]["frames_sha256"] for done in (result, other)
    ]
    assert digests[0] != digests[1]

    # Again: the picture of the same settings is kept, with other words it is another.
    animator(AnimationRequest.from_dict({**scene, "output": folder / "clip.mkv"}))
    np.testing.assert_array_equal(read_image(folder / "clip-reference.png"), before)
    animator(AnimationRequest.from_dict({**scene, "restyle": "a dancer in oil", "overwrite": True}))
    assert (read_image(folder / "clip-reference.png") != before).any()


def test_the_command_stops_at_the_reference_where_that_is_asked(
    scene: dict[str, Any], models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"--{name.replace('_', '-')}={value}" for name, value in scene.items()]
    code = main(
        ["run", *options, "--model", str(models["video"]), "--restyle-only", "--progress", "plain"]
    )
    assert code == 0, capsys.readouterr().err
    folder = scene["output"].parent
    assert "clip-reference.png" in capsys.readouterr().err
    assert read_image(folder / "clip-reference.png").shape[2] == 3
    assert not scene["output"].exists()
    assert main(["run", *options[:-2], "--restyle-only"]) == 2


def test_a_model_for_stills_that_is_not_here_is_said_before_any_work(
    scene: dict[str, Any], models: dict[str, Path], tmp_path: Path
) -> None:
    animator = Animator.from_pretrained(models["video"], device="cpu")
    with pytest.raises(ModelError, match="no model for stills is called"):
        animator(AnimationRequest.from_dict({**scene, "still_model": "no-such"}))
    assert not (tmp_path / "clip-reference.png").exists()


def test_nobody_seen_in_what_was_made_anew_names_the_way_out(
    scene: dict[str, Any], tmp_path: Path
) -> None:
    picture = tmp_path / "clip-reference.png"
    request = AnimationRequest.from_dict({**scene, "restyle_strength": 0.7})
    with (
        pytest.raises(MotionError, match=r"--restyle-strength below 0\.7, or name another"),
        seen_in(request, picture),
    ):
        raise MotionError(f"no person was found in {picture}; choose one")
    plain = AnimationRequest.from_dict({**scene, "restyle": None})
    for others, words in ((plain, f"in {picture}; choose one"), (request, "in driving.mp4")):
        with pytest.raises(MotionError, match=words), seen_in(others, picture):
            raise MotionError(f"no person was found {words}")
