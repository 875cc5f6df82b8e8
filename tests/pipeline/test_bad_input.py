"""Arguments that cannot be used are named, with what was expected."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from animate import clean_poses, draw_poses, estimate_poses, retarget_poses
from animate.errors import AnimateError, MediaError, MotionError, RequestError
from animate.pipeline.arrays import read_picture, read_pictures
from tests.pipeline.figure import FigureEstimator
from tests.scene import picture, poses

GOOD = picture()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.zeros((3, 8, 8), np.uint8), "shape (3, 8, 8); expected (height, width, 3): move"),
        (np.zeros((8, 8), np.uint8), "repeat the grey channel"),
        (np.zeros((8, 8, 4), np.uint8), "lay the picture over a colour"),
        (np.zeros((0, 8, 3), np.uint8), "holds no pixel"),
        (np.zeros((8, 8, 3), np.int64), "type int64; expected uint8 from 0 to 255, or floats"),
        (np.zeros((8, 8, 3), bool), "type bool"),
        (np.full((8, 8, 3), 255.0), "values from 255 to 255; expected"),
        (np.full((8, 8, 3), -1.0), "values from -1 to -1; expected"),
        (np.full((8, 8, 3), np.nan), "not finite"),
        (torch.zeros(8, 8, 3), "shape (8, 8, 3); expected (3, height, width): move the channels"),
        (torch.zeros(4, 8, 8), "lay the picture over a colour"),
        (torch.zeros(2, 3, 8, 8), "shape (2, 3, 8, 8); expected (3, height, width)"),
        (7, "image is of the type int; expected a picture"),
        (None, "image is of the type NoneType"),
    ],
)
def test_a_picture_that_is_none_is_named(value: Any, words: str) -> None:
    with pytest.raises(RequestError, match=re.escape(words)):
        read_picture(value, "image")


def test_floats_of_every_size_are_levels() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert read_picture(torch.ones(3, 4, 4, dtype=dtype), "image").min() == 255


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "driving is empty"),
        (np.zeros((0, 8, 8, 3), np.uint8), "driving is empty"),
        (np.zeros((8, 8, 3), np.uint8), "expected (frames, height, width, 3)"),
        (torch.zeros(3, 8, 8), "expected (frames, 3, height, width)"),
        ([GOOD, GOOD[:32]], "driving[1] is 64x32, driving[0] is 64x64"),
        ([GOOD, GOOD * 1.0], "driving[1] has values from"),
        (3, "driving is of the type int; expected a list of pictures"),
        (b"abc", "driving is of the type bytes"),
    ],
)
def test_pictures_that_are_none_are_named(value: Any, words: str) -> None:
    with pytest.raises(RequestError, match=re.escape(words)):
        read_pictures(value, "driving")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"driving": [GOOD]}, "driving and poses are both given"),
        ({"poses": np.zeros((2, 18, 3))}, "shape (2, 18, 3); expected (frames, people, 134, 3)"),
        ({"poses": np.full((2, 134, 3), 2.0)}, "scores from 2 to 2; expected 0 (absent) to 1"),
        ({"poses": np.full((2, 134, 3), np.inf)}, "no finite numbers"),
        ({"poses": {}}, "poses is of the type dict; expected a PoseSequence"),
        ({"poses": poses(3), "driving_fps": 5}, "nothing lacks a rate"),
        ({"poses": np.zeros((2, 134, 3)), "driving_fps": "x"}, "is not frames per second"),
        ({"height": 64}, "height and width go together"),
        ({"height": 60, "width": 60}, "multiples of 8"),
        ({"num_frames": 0}, "max_frames 0 is out of range"),
        ({"output_type": "gif"}, "output_type 'gif' is not pil, np, pt, latent"),
        ({"seed": 1, "generator": torch.Generator()}, "seed and generator are both given"),
        ({"num_videos_per_prompt": 0}, "is not a number of videos"),
        ({"steps": 4}, "steps is called num_inference_steps here"),
        ({"audio": False}, "audio is for clips on disk"),
        ({"windwo": 4}, "unknown argument 'windwo'; did you mean 'window'?"),
        ({"retarget": "rubust"}, "retarget"),
        ({"motion_bucket_id": -1}, "micro-condition motion_bucket -1"),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, "names 'noise'; there is latents"),
        ({"image": []}, "image is an empty list"),
        ({"overlap": 9}, "overlap"),
    ],
)
def test_a_call_that_cannot_be_is_refused(pipe: Any, changes: dict[str, Any], words: str) -> None:
    given = {"image": GOOD, "poses": poses(3), "retarget": "none", **changes}
    with pytest.raises(AnimateError, match=re.escape(words)):
        pipe(**given)


def test_files_that_are_missing_or_of_another_kind_are_named(pipe: Any, tmp_path: Path) -> None:
    filed = poses(3).save(tmp_path / "p.npz")
    for given in ({"poses": tmp_path / "absent.npz"}, {"driving": str(tmp_path / "absent.mp4")}):
        with pytest.raises(MediaError, match="absent"):
            pipe(GOOD, **given)
    with pytest.raises(RequestError, match="holds poses; give it as poses"):
        pipe(GOOD, control_frames=filed)
    with pytest.raises(MediaError, match=r"absent\.png"):
        pipe(tmp_path / "absent.png", poses=filed)


def test_a_stream_refuses_its_arguments_at_once(pipe: Any) -> None:
    with pytest.raises(RequestError, match="unknown argument"):
        pipe.stream(GOOD, poses=poses(3), windwo=3)
    with pytest.raises(RequestError, match="output_type 'latent'"):
        pipe.stream(GOOD, poses=poses(3), output_type="latent")


def test_poses_of_pictures_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "animate.pipeline.poses.load_estimator", lambda name, **options: FigureEstimator()
    )
    driver = estimate_poses([picture(shift=0.02 * n) for n in range(4)], fps=24)
    assert (driver.frames, driver.people, driver.fps, driver.canvas) == (4, 1, 24, (64, 64))
    person = estimate_poses([picture(shift=0.2)])
    fitted = retarget_poses(clean_poses(driver), person)
    assert fitted.points[0, 0, 1, 0] > driver.points[0, 0, 1, 0]
    drawn = draw_poses(fitted, size="32x48")
    assert drawn.shape == (4, 48, 32, 3)
    assert drawn.any(axis=(1, 2, 3)).all()
    nobody = estimate_poses([np.zeros((8, 8, 3), np.uint8)])
    with pytest.raises(MotionError, match="no person was found in reference"):
        retarget_poses(driver, nobody)
    with pytest.raises(RequestError, match="expected a PoseSequence"):
        draw_poses(np.zeros(3))
