"""Poses and rendered skeletons as the only source of a clip's motion."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from animate.driving.placement import Placement, place_picture
from animate.driving.poses import driving_poses
from animate.driving.skeletons import RenderedSkeletons, rendered_pictures
from animate.driving.tools import convert_poses
from animate.errors import MediaError, RequestError
from animate.media import FrameSelection, check_driving, open_video, open_writer, source_digest
from animate.progress import Quiet
from animate.request.request import AnimationRequest
from animate.request.values import Size
from pose.errors import PoseError
from pose.formats import encode_file
from tests.scene import poses


def request(tmp_path: Path, **values: object) -> AnimationRequest:
    paths = {"reference": tmp_path / "r.png", "output": tmp_path / "c.mp4"}
    return AnimationRequest.from_dict({**paths, **values})


def test_a_pose_file_alone_states_canvas_rate_and_length(tmp_path: Path) -> None:
    filed = poses(9, size=(64, 48), fps=Fraction(24)).save(tmp_path / "dance.npz")
    alone = request(tmp_path, poses=filed)
    assert alone.driving == filed
    source = open_video(alone.driving)
    assert source.info.size == (64, 48)
    assert (source.info.fps, source.info.frames) == (24, 9)
    assert source.audio() is None
    selection = FrameSelection(start=2, stride=3)
    chosen = driving_poses(alone, source, selection, None, Quiet())
    assert (chosen.frames, chosen.fps) == (3, 8)
    np.testing.assert_array_equal(chosen.points, poses(9, size=(64, 48)).points[2::3])
    frames = list(source.read(selection))
    assert [frame.index for frame in frames] == [2, 5, 8]
    assert all(frame.image.shape == (48, 64, 3) and frame.image.any() for frame in frames)


@pytest.mark.parametrize("format", ["openpose", "comfyui", "coco-wholebody"])
def test_poses_of_other_formats_written_here_need_nothing_stated(
    tmp_path: Path, format: str
) -> None:
    one = poses(11, size=(64, 48), fps=Fraction(30000, 1001))
    path = tmp_path / "dance.json"
    convert_poses(one, path, format)
    alone = request(tmp_path, poses=path)
    check_driving(alone.driving)
    source = open_video(alone.driving, stated_fps=Fraction(15))
    assert (source.info.size, source.info.fps, source.info.frames) == ((64, 48), one.fps, 11)
    chosen = driving_poses(alone, source, FrameSelection(start=9), None, Quiet())
    seen = one.scores[9:] > 0
    np.testing.assert_allclose(chosen.points[seen], one.points[9:][seen], atol=1e-3)
    before = source_digest(path)
    convert_poses(replace(one, points=one.points + 1), path, format)
    assert source_digest(path) != before


def test_a_folder_of_frames_of_openpose_itself_says_what_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    convert_poses(poses(3, size=(64, 48)), folder, "openpose")
    for file in folder.iterdir():
        record = json.loads(file.read_text())
        for name in ("canvas_width", "canvas_height", "fps"):
            del record[name]
        file.write_text(json.dumps(record))
    with pytest.raises(PoseError, match=r"how large its pictures were; .* --canvas"):
        open_video(folder)
    (folder / "0.png").touch()
    with pytest.raises(MediaError, match=r"0\.png"):  # pictures go first
        open_video(folder)


def test_a_file_without_a_rate_needs_one_stated(tmp_path: Path) -> None:
    frames = json.loads(encode_file(poses(4), "comfyui"))
    for frame in frames:
        del frame["fps"]
    (tmp_path / "list.json").write_text(json.dumps(frames))
    with pytest.raises(PoseError, match="give the fps"):
        open_video(tmp_path / "list.json")
    assert open_video(tmp_path / "list.json", stated_fps=Fraction(12)).info.fps == 12


def test_without_a_video_and_without_poses_there_is_no_motion(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="driving is missing"):
        request(tmp_path)


def skeletons(path: Path, size: tuple[int, int]) -> Path:
    """Three frames with a white square that fills the middle fifth of the height."""
    with open_writer(path, size=size, fps=Fraction(10), codec="ffv1") as writer:
        for _ in range(3):
            picture = np.zeros((size[1], size[0], 3), np.uint8)
            half, side = np.array(size) // 2, size[1] // 10
            picture[half[1] - side : half[1] + side, half[0] - side : half[0] + side] = 255
            writer.write(picture)
    return path


def rendered_skeletons(path: Path, placement: Placement) -> RenderedSkeletons:
    pictures, source = rendered_pictures(path), open_video(path)
    return RenderedSkeletons(pictures, source, FrameSelection(), placement, str(path))


def test_rendered_skeletons_of_the_clips_shape_are_taken_as_they_are(tmp_path: Path) -> None:
    path = skeletons(tmp_path / "s.mkv", (80, 80))
    placement = place_picture(Size(200, 100), Size(80, 80), "crop")
    rendered = rendered_skeletons(path, placement)
    first = next(iter(open_video(path).read())).image
    assert np.array_equal(rendered.picture(2), first)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_rendered_skeletons_of_another_shape_go_where_the_reference_goes(
    tmp_path: Path, fit: str
) -> None:
    """A wide skeleton for a wide reference and a square clip: the square lies as it would."""
    path = skeletons(tmp_path / "s.mkv", (100, 50))
    placement = place_picture(Size(200, 100), Size(80, 80), fit)  # type: ignore[arg-type]
    rendered = rendered_skeletons(path, placement).picture(0)
    assert rendered.shape == (80, 80, 3)
    rows, columns = np.nonzero(rendered[..., 0] > 127)
    corners = placement.points(np.array([[90.0, 40.0], [110.0, 60.0]]))
    assert [columns.min(), rows.min()] == pytest.approx(corners[0].tolist(), abs=1.5)
    assert [columns.max() + 1, rows.max() + 1] == pytest.approx(corners[1].tolist(), abs=1.5)
