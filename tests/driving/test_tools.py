"""Pose files and their conversions: whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from animate.driving.tools import convert_poses, extract_file, write_poses
from animate.errors import MediaError
from animate.media import FrameSelection
from animate.progress import Quiet, choose_progress
from pose.sequence import PoseSequence
from tests.pipeline.figure import FigureEstimator
from tests.scene import picture, poses, write_video


def test_a_shorter_conversion_replaces_a_longer_one_and_leaves_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    convert_poses(poses(5), folder, "openpose")
    (folder / "notes.txt").write_text("stay")
    convert_poses(poses(3), folder, "openpose")
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["notes.txt", *(f"pose_{n:012d}_keypoints.json" for n in range(3))]


@pytest.mark.parametrize("suffix", ["webp", "png"])
def test_a_moving_picture_has_poses_of_every_frame(suffix: str, tmp_path: Path) -> None:
    pictures = [Image.fromarray(picture(shift=0.02 * index)) for index in range(3)]
    path = tmp_path / f"dance.{suffix}"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40)
    found = extract_file(path, FrameSelection(), FigureEstimator(), Quiet())
    assert (found.frames, found.fps) == (3, 25)
    pictures[0].save(path)
    assert extract_file(path, FrameSelection(), FigureEstimator(), Quiet()).frames == 1


def test_poses_alone_are_the_whole_task_of_a_farm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    driving = write_video(tmp_path / "dance.mp4", 4)
    progress = choose_progress(kind="deadline")
    extract_file(driving, FrameSelection(), FigureEstimator(), progress)
    assert "Progress: 100%" in capsys.readouterr().out


def test_an_interrupted_write_leaves_the_older_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "poses.npz"
    write_poses(poses(3), path)
    monkeypatch.setattr("animate.files.os.replace", _refuse)
    with pytest.raises(MediaError, match=r"poses\.npz cannot be written: no room"):
        write_poses(poses(5), path)
    assert PoseSequence.load(path).frames == 3
    assert [file.name for file in tmp_path.iterdir()] == ["poses.npz"]


def _refuse(*paths: object) -> None:
    raise OSError(28, "no room")
