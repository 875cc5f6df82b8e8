"""Poses, faces and backgrounds of clips of a real picture's person, estimated again."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from animate import AnimationRequest, evaluate
from animate.clip.record import ClipFile
from animate.evaluation import sound
from animate.evaluation.asked import read_record
from animate.evaluation.scores import ClipScores
from animate.evaluation.sound import audio_offset
from animate.files import sha256
from animate.media import write_png
from pose.estimators import load_estimator
from pose.extract import extract
from pose.sequence import PoseSequence
from tests.clip.records import some_record
from tests.evaluation.scenes import texture, video
from tests.media.clips import click_sound, make_video

PERSON = np.ascontiguousarray(skimage.data.astronaut()[:384, 40:424])
SHIFT = 3
COUNT = 5


def moved(pixels: int) -> np.ndarray:
    """The person, farther right by some pixels."""
    turn = np.float32([[1, 0, pixels], [0, 1, 0]])
    return cv2.warpAffine(PERSON, turn, (384, 384), borderMode=cv2.BORDER_REPLICATE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """reference.png, and driving poses.npz of a person who moves 3 pixels a frame."""
    folder = tmp_path_factory.mktemp("people")
    write_png(folder / "reference.png", PERSON)
    frames = [moved(SHIFT * index) for index in range(COUNT)]
    poses = extract(frames, load_estimator(), fps=Fraction(5))
    poses.save(folder / "poses.npz")
    return folder


def scored(folder: Path, name: str, frames: list[np.ndarray]) -> ClipScores:
    clip = video(folder / f"{name}.mkv", frames, 5)
    evaluation = evaluate(
        clip, reference=folder / "reference.png", driving=folder / "poses.npz", protocol="clean"
    )
    return evaluation.clips[0]


@pytest.fixture(scope="module")
def faithful(folder: Path) -> ClipScores:
    return scored(folder, "faithful", [moved(SHIFT * index) for index in range(COUNT)])


def test_a_clip_that_follows_its_poses_scores_well(faithful: ClipScores) -> None:
    assert faithful.value("pose_share_face") == 100
    assert faithful.value("missed_frames") == 0
    assert faithful.value("identity") < 0.25  # type: ignore[operator]
    assert faithful.value("identity_share") == 100
    assert faithful.value("sharpness") == pytest.approx(1, abs=0.2)


def test_a_late_clip_has_a_larger_error(folder: Path, faithful: ClipScores) -> None:
    late = scored(folder, "late", [moved(max(0, SHIFT * (i - 2))) for i in range(COUNT)])
    for measure in ("pose_error_face", "pose_error"):
        assert late.value(measure) > 1.5 * faithful.value(measure)  # type: ignore[operator]


def test_a_clip_of_a_part_of_a_pose_file_is_compared_with_that_part(folder: Path) -> None:
    clip = video(folder / "part.mkv", [moved(SHIFT * index) for index in range(2, COUNT)], 5)
    request = AnimationRequest.from_dict(
        {"reference": "reference.png", "driving": "poses.npz", "output": clip.name, "start": "2f"}
    )
    file = ClipFile.of(clip, {clip.name: sha256(clip)}, clip.stat().st_size)
    inputs = {
        "reference": sha256(folder / "reference.png"),
        "driving": sha256(folder / "poses.npz"),
    }
    some_record(request, clip=file, inputs=inputs).write(clip.with_suffix(".json"))
    (scores,) = evaluate(clip, protocol="clean").clips
    assert scores.value("pose_share_face") == 100
    assert scores.value("duration_difference") == 0


def test_the_clip_itself_is_not_taken_for_a_driving_video_of_its_name(folder: Path) -> None:
    """A record that shares no folder with its inputs holds their names alone."""
    clip = video(folder / "dance.mkv", [moved(SHIFT * index) for index in range(COUNT)], 5)
    request = AnimationRequest.from_dict(
        {"reference": "reference.png", "driving": "dance.mkv", "output": clip.name}
    )
    file = ClipFile.of(clip, {clip.name: sha256(clip)}, clip.stat().st_size)
    inputs = {"reference": sha256(folder / "reference.png"), "driving": "56" * 32}
    some_record(request, clip=file, inputs=inputs).write(clip.with_suffix(".json"))
    record = read_record(clip)
    assert record is not None
    assert record.path("reference") == folder / "reference.png"
    assert record.path("driving") is None


def test_one_face_exchanged_is_the_worst_frame(folder: Path) -> None:
    frames = [moved(SHIFT * index) for index in range(COUNT)]
    face = frames[3][60:180, 130:240]
    frames[3][60:180, 130:240] = cv2.GaussianBlur(face[:, ::-1], (0, 0), 5)
    scores = scored(folder, "exchanged", frames)
    identity = next(s for s in scores.scores if s.measure == "identity")
    faceless = next(s for s in scores.scores if s.measure == "faceless_frames")
    assert identity.worst_frames(1) == [3] or faceless.curve[3] == 1


def test_a_clip_without_a_person_has_reasons_and_missed_frames(folder: Path) -> None:
    scores = scored(folder, "nobody", [texture(384, 384, seed) for seed in range(COUNT)])
    assert scores.value("missed_frames") == COUNT
    assert scores.value("faceless_frames") == COUNT
    left_out = dict(scores.left_out)
    assert "not seen" in left_out["pose_error"]
    assert "no face" in left_out["identity"]


def test_a_reference_without_a_person_is_a_reason(folder: Path, tmp_path: Path) -> None:
    write_png(tmp_path / "empty.png", texture(384, 384))
    clip = video(tmp_path / "clip.mkv", [PERSON] * 2, 5)
    (scores,) = evaluate(clip, reference=tmp_path / "empty.png", protocol="clean").clips
    assert "no person" in dict(scores.left_out)["identity"]
    assert "no driving" in dict(scores.left_out)["pose_error"]


def test_a_pose_file_of_the_clips_size_is_taken_as_it_lies(
    folder: Path, faithful: ClipScores
) -> None:
    assert any("clip's size" in note for note in faithful.notes)
    assert PoseSequence.load(folder / "poses.npz").canvas == (384, 384)


@pytest.mark.parametrize("late", [-0.2, 0.0, 0.13])
def test_late_sound_is_found_to_5_milliseconds(late: float, tmp_path: Path) -> None:
    clicks = [0.5, 0.9, 1.6, 1.75]
    driving = make_video(tmp_path / "driving.mp4", 60, sound=click_sound(2.4, clicks))
    clip = make_video(tmp_path / "clip.mp4", 60, sound=click_sound(2.4, [c + late for c in clicks]))
    assert audio_offset(clip, driving, 0.0) == pytest.approx(late, abs=0.006)
    # The clip that begins 0.4 s into the driving video.
    cut = make_video(tmp_path / "cut.mp4", 50, sound=click_sound(2.0, [c - 0.4 for c in clicks]))
    assert audio_offset(cut, driving, 0.4) == pytest.approx(0, abs=0.006)


def test_sound_behind_what_is_compared_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_video(tmp_path / "clip.mp4", 60, sound=click_sound(2.4, [0.1, 0.3]))
    ends: list[int] = []
    put = sound._put
    monkeypatch.setattr(sound, "_SECONDS", 1)
    monkeypatch.setattr(sound, "_put", lambda *placed: ends.append(put(*placed)) or ends[-1])
    assert audio_offset(clip, clip, 0.0) == 0
    assert max(ends) == 8000
    assert ends.count(0) <= 4  # pieces outside of the second that counts, of two files


def test_silence_and_missing_sound_have_no_offset(tmp_path: Path) -> None:
    sound = make_video(tmp_path / "sound.mp4", 20, sound=click_sound(0.8, [0.2]))
    silent = make_video(tmp_path / "silent.mp4", 20, sound=click_sound(0.8, []))
    mute = make_video(tmp_path / "mute.mp4", 20)
    assert audio_offset(silent, sound, 0.0) is None
    assert audio_offset(mute, sound, 0.0) is None
