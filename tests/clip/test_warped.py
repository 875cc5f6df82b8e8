"""A model whose image latents are warped, from files to a clip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from animate import AnimationRequest, Animator
from animate.clip import motion
from animate.media import open_video
from pose.draw import draw
from pose.errors import PoseError
from pose.sequence import PoseSequence
from tests.scene import poses, write_scene
from tests.toy import toy_model

FRAMES = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("warped")
    toy_model(place / "plain")
    toy_model(place / "warped")
    text = (place / "warped" / "variant.yaml").read_text()
    assert "image_latents: reference" in text
    text = text.replace("image_latents: reference", "image_latents: warped")
    (place / "warped" / "variant.yaml").write_text(text)
    write_scene(place, FRAMES)
    return place


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference's person is seen, where the scene has it."""

    def known(picture: np.ndarray, *anything: Any) -> PoseSequence:
        return poses(1, size=(picture.shape[1], picture.shape[0]))

    monkeypatch.setattr(motion, "reference_pose", known)


def request(folder: Path, model: str, name: str) -> AnimationRequest:
    return AnimationRequest(
        reference=folder / "reference.png",
        driving=folder / "driving.mp4",
        poses=folder / "poses.npz",
        output=folder / f"{name}.mkv",
        codec="ffv1",
        retarget="none",
        model=str(folder / model),
    )


def frames_of(asked: AnimationRequest) -> tuple[np.ndarray, tuple[str, ...]]:
    result = Animator.from_pretrained(asked.model)(asked)
    return np.stack([frame.image for frame in open_video(result.output).read()]), result.warnings


@pytest.mark.usefixtures("person")
def test_each_frame_has_the_reference_in_its_own_pose(folder: Path) -> None:
    plain, _ = frames_of(request(folder, "plain", "plain"))
    warped, warnings = frames_of(request(folder, "warped", "warped"))
    assert not warnings
    assert warped.shape == plain.shape
    assert not np.array_equal(warped, plain)
    again, _ = frames_of(request(folder, "warped", "again"))
    assert np.array_equal(again, warped)


def test_without_a_person_in_the_reference_it_is_taken_as_it_is_which_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*anything: Any) -> PoseSequence:
        raise PoseError("no person was found")

    monkeypatch.setattr(motion, "reference_pose", nobody)
    plain, _ = frames_of(request(folder, "plain", "plain-alone"))
    warped, warnings = frames_of(request(folder, "warped", "warped-alone"))
    assert np.array_equal(warped, plain)
    assert any("nobody is seen" in warning for warning in warnings)
    with pytest.raises(PoseError, match="no person"):
        frames_of(replace(request(folder, "warped", "fitted"), retarget="limbs"))


@pytest.mark.usefixtures("person")
def test_rendered_skeletons_have_no_joints_which_is_said(folder: Path) -> None:
    sequence = PoseSequence.load(folder / "poses.npz")
    skeletons = folder / "skeletons"
    skeletons.mkdir()
    for frame in range(FRAMES):
        picture = draw(
            sequence.points[frame], sequence.scores[frame], sequence.canvas, style="published"
        )
        cv2.imwrite(str(skeletons / f"{frame:04d}.png"), picture[..., ::-1])
    asked = replace(request(folder, "warped", "rendered"), poses=skeletons)
    _, warnings = frames_of(asked)
    assert any("came rendered" in warning for warning in warnings)
