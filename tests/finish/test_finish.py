"""From generated frames to files, through the animator: time, sound, what lies beside the clip."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from animate import AnimationRequest, AnimationResult, Animator
from animate.errors import MediaError, RequestError
from animate.finish.montage import ContactSheet
from animate.media import FrameSelection, open_video, read_image, write_png
from pose.errors import PoseError
from tests.scene import poses, write_scene, write_video
from tests.toy import toy_model


@pytest.fixture(scope="module")
def animator(tmp_path_factory: pytest.TempPathFactory) -> Animator:
    folder = tmp_path_factory.mktemp("model") / "toy"
    toy_model(folder)
    return Animator.from_pretrained(folder, device="cpu")


@pytest.fixture
def scene(tmp_path: Path) -> dict[str, Any]:
    files: dict[str, Any] = dict(write_scene(tmp_path, sound=True))
    return {**files, "output": tmp_path / "clip.mp4", "retarget": "none"}


def run(animator: Animator, values: dict[str, Any], **changes: Any) -> AnimationResult:
    return animator(AnimationRequest.from_dict({**values, **changes}))


def record(result: AnimationResult) -> dict[str, Any]:
    return json.loads(result.sidecar.read_text())


def frames_digest(result: AnimationResult) -> str:
    return record(result)["output"]["frames_sha256"]


@pytest.mark.parametrize(
    ("changes", "frames"),
    [({"stride": 2}, 11), ({"stride": 5}, 11), ({"stride": 3, "max_frames": 3}, 7),
     ({"fps": 12}, 10), ({"stride": 2, "start": "3f", "end": "10f"}, 7)],
)  # fmt: skip
def test_interpolation_restores_rate_and_sound_and_ends_with_the_last_frame(
    animator: Animator, scene: dict[str, Any], changes: dict[str, Any], frames: int
) -> None:
    result = run(animator, scene, interpolate=True, **changes)
    info = open_video(result.output).info
    assert (info.fps, info.frames) == (29, frames) == (result.fps, result.frames)
    assert info.has_audio
    plain = run(animator, scene, overwrite=True, **changes)
    assert plain.frames < frames
    assert abs(result.duration - plain.duration) < 1 / plain.fps


def test_nothing_to_interpolate_is_said(animator: Animator, scene: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="nothing is left out"):
        run(animator, scene, interpolate=True)
    with pytest.raises(RequestError, match=r"40 frames/s of .*driving\.mp4's 29"):
        run(animator, scene, interpolate=True, fps=40)


def test_side_by_side_shows_reference_pose_and_result(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    side = tmp_path / "side.mkv"
    result = run(animator, scene, side_by_side=side, stride=2, interpolate=True)
    info, clip = open_video(side).info, open_video(result.output).info
    assert info.size == (3 * result.size.width, result.size.height)
    assert (info.fps, info.frames, info.has_audio) == (clip.fps, clip.frames, True)
    at = FrameSelection(start=4, max_frames=1)
    wide = next(iter(open_video(side).read(at))).image.astype(int)
    shown = next(iter(open_video(result.output).read(at))).image
    thirds = np.split(wide, 3, axis=1)
    assert np.abs(thirds[0] - read_image(scene["reference"])).mean() < 12
    assert (thirds[1].max(-1) < 30).mean() > 0.5  # a skeleton on black
    assert thirds[1].max() > 100
    assert np.abs(thirds[2] - shown).mean() < 8


def test_the_driving_video_stands_beside_the_result_in_step(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    side = tmp_path / "side.mkv"
    choice = {"side_by_side": side, "panels": "driving,result", "codec": "ffv1"}
    for changes in ({"stride": 2}, {"stride": 2, "interpolate": True}):
        values = {**scene, **choice, "output": tmp_path / "clip.mkv", "overwrite": True}
        result = run(animator, values, **changes)
        wide = [frame.image for frame in open_video(side).read()]
        assert len(wide) == result.frames
        step = 1 if "interpolate" in changes else 2
        driving = [frame.image for frame in open_video(scene["driving"]).read()][::step]
        for frame, truth in zip(wide, driving, strict=False):
            assert frame.shape == (64, 128, 3)
            assert np.abs(frame[:, :64].astype(int) - truth).mean() < 6


def test_panels_that_are_none_are_refused() -> None:
    for wrong in ("", "driving,driving", "drivng", 3):
        with pytest.raises(RequestError, match="panels"):
            AnimationRequest(reference="a", driving="b", output="c.mp4", panels=wrong)  # type: ignore[arg-type]


def test_a_contact_sheet_is_a_picture_of_the_clip(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    sheet = tmp_path / "sheet.png"
    result = run(animator, scene, contact_sheet=sheet)
    picture = read_image(sheet)
    # 13 tiles in rows of six; frames of 64 pixels are enlarged to 96 for their labels
    assert picture.shape == (3 * (96 + 18 + 4), 6 * (96 + 4), 3)
    beside = json.loads(result.sidecar.read_text())["output"]["beside"]
    assert beside == ["sheet.png"]


def test_a_sheet_of_a_long_clip_holds_few_frames() -> None:
    sheet = ContactSheet(10_000, Fraction(25), np.zeros((40, 30, 3), np.uint8))
    for number in range(10_000):
        sheet.add(number, np.full((40, 30, 3), number // 40, np.uint8))
    assert len(sheet._tiles) == 24
    assert sheet.picture()[-40, -20].max() > 240  # the last frame is the last tile


def test_side_outputs_do_not_decide_the_pictures(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    before = record(run(animator, scene))
    after = record(run(animator, scene, overwrite=True, side_by_side=tmp_path / "s.mp4"))
    assert before["output"]["frames_sha256"] == after["output"]["frames_sha256"]
    assert before["digest"] == after["digest"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"side_by_side": "no/such/s.mp4"}, MediaError, "mkdir -p no/such"),
        ({"side_by_side": "s.xyz"}, MediaError, "no known suffix"),
        ({"contact_sheet": "sheet.jpg"}, RequestError, r"sheet\.jpg must be named \.png"),
        ({"contact_sheet": "no/such/s.png"}, MediaError, "mkdir -p no/such"),
    ],
)
def test_names_that_cannot_be_are_said_before_the_work(
    animator: Animator, scene: dict[str, Any], changes: Any, error: Any, message: str
) -> None:
    before = set(scene["output"].parent.iterdir())
    with pytest.raises(error, match=message):
        run(animator, scene, **changes)
    assert set(scene["output"].parent.iterdir()) == before


def test_two_outputs_of_one_name_are_refused(animator: Animator, scene: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="output and side by side name the same file"):
        run(animator, scene, side_by_side=scene["output"])


def test_existing_files_beside_are_kept(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    for name in ("side_by_side", "contact_sheet"):
        path = tmp_path / f"{name}.png"
        target = path if name == "contact_sheet" else path.with_suffix(".mp4")
        target.write_text("mine")
        with pytest.raises(MediaError, match="exists already"):
            run(animator, scene, **{name: target})
        assert target.read_text() == "mine"


def test_nothing_lies_beside_a_clip_that_failed(
    animator: Animator, scene: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        yield from ()
        raise OSError("no space left")

    monkeypatch.setattr("animate.finish.chain.interpolated", broken)
    before = {p for p in tmp_path.iterdir() if p.suffix != ".work"}
    with pytest.raises(OSError, match="no space"):
        run(animator, scene, stride=2, interpolate=True, side_by_side=tmp_path / "s.mp4",
            contact_sheet=tmp_path / "s.png")  # fmt: skip
    assert {p for p in tmp_path.iterdir() if p.suffix != ".work"} == before


@pytest.mark.parametrize("name", ["lock_background", "anchor_colour"])
def test_comparing_with_the_reference_changes_frames(
    animator: Animator, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = frames_digest(run(animator, scene))
    monkeypatch.setattr("animate.clip.motion.reference_pose", lambda *_: poses(1))
    after = frames_digest(run(animator, scene, overwrite=True, **{name: True}))
    assert before != after
    assert frames_digest(run(animator, scene, overwrite=True, **{name: True})) == after


def test_a_reference_without_a_person_cannot_be_compared_with(
    animator: Animator, scene: dict[str, Any]
) -> None:
    write_png(scene["reference"], np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(PoseError, match=r"no person was found in .*reference\.png"):
        run(animator, scene, lock_background=True)


def test_numbered_images_drive_a_clip(
    animator: Animator, scene: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for frame in open_video(scene["driving"]).read():
        write_png(folder / f"f_{frame.index:04d}.png", frame.image)
    kept = poses(12, fps=Fraction(24)).save(tmp_path / "kept.npz")
    values = {**scene, "driving": folder / "f_%04d.png", "poses": kept, "fps": 24}
    result = run(animator, values, stride=2)
    assert (result.frames, result.fps) == (6, 12)
    [warning] = result.warnings
    assert "kept.npz" in warning
    recorded = json.loads(result.sidecar.read_text())["warnings"]
    assert recorded == [warning.replace(f"{tmp_path}/", "")]
    assert run(animator, values, stride=2, interpolate=True, overwrite=True).fps == 24
    guessed = run(animator, {**values, "fps": None}, overwrite=True, max_frames=3)
    assert guessed.fps == 25
    assert any("25 frames/s are assumed" in warning for warning in guessed.warnings)


@pytest.mark.parametrize("seconds", [0.2, 0.9])
def test_the_pictures_decide_how_long_a_clip_is(
    animator: Animator, scene: dict[str, Any], tmp_path: Path, seconds: float
) -> None:
    """Sound that is shorter is filled with silence, longer sound is cut, which is recorded."""
    from tests.media.clips import click_sound, heard_clicks, make_video

    driving = make_video(
        tmp_path / "odd.mp4", 12, rate=29, size=(64, 64), sound=click_sound(seconds, [0.1])
    )
    kept = poses(12).save(tmp_path / "kept.npz")
    result = run(animator, scene, driving=driving, poses=kept)
    assert result.frames == 12
    clicks, end = heard_clicks(result.output)
    assert abs(clicks[0] - 0.1) < 0.04
    assert abs(end - 12 / 29) < 1 / 29
    sound = json.loads(result.sidecar.read_text())["output"]["sound"]
    assert ("silence fills it" in sound) == (seconds < 12 / 29)


def test_a_crop_keeps_the_person_of_the_reference(
    animator: Animator, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A wide picture with the person at its left edge: a square of it shows the person."""
    wide = np.zeros((64, 192, 3), np.uint8)
    wide[:, :64] = read_image(scene["reference"])
    write_png(scene["reference"], wide)
    person = poses(1)
    monkeypatch.setattr(
        "animate.clip.motion.reference_pose",
        lambda *_: type(person)(**{**person.__dict__, "canvas": (192, 64)}),
    )
    write_video(tmp_path / "v.mp4", 12)
    side = tmp_path / "side.mp4"
    run(animator, scene, retarget="affine", size="64x64", side_by_side=side, max_frames=2)
    shown = next(iter(open_video(side).read())).image[:, :64].astype(int)
    away = [np.abs(shown - wide[:, x : x + 64]).mean() for x in range(129)]
    first = int(np.argmin(away))  # the middle would begin at 64, without the person
    assert min(away) < 6
    assert 10 <= first <= 22
