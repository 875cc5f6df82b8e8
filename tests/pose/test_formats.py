"""Other programs' pose files: round trips, other people's habits, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pose.errors import PoseError
from pose.formats import FORMATS, FRAME_FORMATS, encode_file, encode_frames, import_poses
from pose.formats.comfyui import parse_comfyui
from pose.formats.openpose import import_openpose, openpose_frames
from pose.formats.rendered import rendered_frame
from pose.layout import FEET, LEFT_SHOULDER, NECK, POINTS, RIGHT_SHOULDER
from pose.sequence import PoseSequence
from scripts.benchmarks._dancer import dancer

# What a format has no place for.
LOST = {"openpose-coco18": [FEET], "comfyui": [FEET]}
OTHERS = [name for name in FORMATS if name != "npz"]


def sequence(frames: int = 3, people: int = 2, seed: int = 0) -> PoseSequence:
    """Random poses with absent points and, in places, absent people; the neck as COCO makes it."""
    generator = np.random.default_rng(seed)
    points = generator.uniform(-20, 400, (frames, people, POINTS, 2)).astype(np.float32)
    scores = generator.uniform(0.01, 1, (frames, people, POINTS)).astype(np.float32)
    scores[generator.random(scores.shape) < 0.2] = 0
    scores[generator.random((frames, people)) < 0.2] = 0
    if people:
        scores[0, -1] = 0.5  # otherwise the last person might never appear, and not be written
    shoulders = [RIGHT_SHOULDER, LEFT_SHOULDER]
    points[:, :, NECK] = points[:, :, shoulders].astype(np.float64).mean(axis=2)
    scores[:, :, NECK] = scores[:, :, shoulders].min(axis=2)
    return PoseSequence(
        points=points,
        scores=scores,
        canvas=(320, 240),
        fps=Fraction(25),
        times=np.arange(frames) / 25,
    )


def export_poses(poses: PoseSequence, path: Path, format: str) -> Path:
    if format not in FRAME_FORMATS:
        path.write_bytes(encode_file(poses, format))
        return path
    path.mkdir()
    for name, data in encode_frames(poses, format):
        (path / name).write_bytes(data)
    return path


def same(one: PoseSequence, other: PoseSequence, lost: list[slice]) -> None:
    scores = one.scores.copy()
    for part in lost:
        scores[:, :, part] = 0
    np.testing.assert_array_equal(other.scores, scores)
    np.testing.assert_array_equal(other.points[scores > 0], one.points[scores > 0])
    assert (other.canvas, other.fps) == (one.canvas, one.fps)
    np.testing.assert_array_equal(other.times, one.times)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=8, deadline=None)
@given(frames=st.integers(1, 4), people=st.integers(0, 3), seed=st.integers(0, 99))
def test_every_format_gives_back_what_it_can_hold(
    tmp_path_factory: pytest.TempPathFactory, format: str, frames: int, people: int, seed: int
) -> None:
    poses = sequence(frames, people, seed)
    path = tmp_path_factory.mktemp("poses") / ("poses.npz" if format == "npz" else "poses.json")
    export_poses(poses, path, format)
    again = import_poses(path, canvas=poses.canvas, fps=poses.fps)
    same(poses, again, LOST.get(format, []))


def test_coco_keeps_what_the_others_do_not_hold(tmp_path: Path) -> None:
    poses = replace(
        sequence(4), times=np.array([0.5, 0.6, 0.7, 1.0]), cuts=(2,), source="a", estimator="b"
    )
    export_poses(poses, tmp_path / "poses.json", "coco-wholebody")
    again = import_poses(tmp_path / "poses.json")
    np.testing.assert_array_equal(again.times, poses.times)
    assert again.header() == poses.header()
    record = json.loads((tmp_path / "poses.json").read_text())
    annotation = record["annotations"][0]
    assert [len(annotation[name]) for name in ("keypoints", "foot_kpts", "face_kpts")] == [
        17 * 3,
        6 * 3,
        68 * 3,
    ]
    x, y, width, height = annotation["bbox"]
    assert annotation["area"] == pytest.approx(width * height)
    assert x + width >= annotation["keypoints"][0] >= x or annotation["keypoints"][2] == 0
    assert y < 400


def test_coco_visibilities_are_read_as_seen(tmp_path: Path) -> None:
    person = {"image_id": 7, "category_id": 1, "keypoints": [10, 20, 2, 30, 40, 1] + [0, 0, 0] * 15}
    record = {
        "images": [{"id": 7, "width": 64, "height": 48}],
        "annotations": [person],
    }
    (tmp_path / "a.json").write_text(json.dumps(record))
    poses = import_poses(tmp_path / "a.json")
    assert poses.scores[0, 0, 0] == 1
    assert poses.scores[0, 0, 15] == 1
    assert tuple(poses.points[0, 0, 15]) == (30, 40)
    assert (poses.scores > 0).sum() == 2


def test_body_25_has_the_middle_of_the_hips_and_openpose_names() -> None:
    poses = dancer(2)
    frames = list(openpose_frames(poses, name="clip"))
    assert frames[1][0] == "clip_000000000001_keypoints.json"
    body = json.loads(frames[0][1])["people"][0]["pose_keypoints_2d"]
    assert len(body) == 75
    hips = poses.points[0, 0, [8, 11]].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(body[24:26], hips, atol=1e-4)
    np.testing.assert_allclose(body[27:29], poses.points[0, 0, 8])


def test_openpose_own_files_are_read(tmp_path: Path) -> None:
    person = {
        "person_id": [-1],
        "pose_keypoints_2d": [5.5, 6.5, 1.04] + [0, 0, 0] * 24,
        "face_keypoints_2d": [],
        "hand_left_keypoints_2d": [],
    }
    for name, people in (("b_1", [person, person]), ("b_0", []), ("b_2", [person])):
        (tmp_path / f"{name}_keypoints.json").write_text(json.dumps({"people": people}))
    poses = import_openpose(tmp_path, canvas=(20, 10), fps=Fraction(12))
    assert (poses.frames, poses.people) == (3, 2)
    assert poses.scores[:, :, 0].tolist() == [[0, 0], [1, 1], [1, 0]]
    assert tuple(poses.points[1, 1, 0]) == (5.5, 6.5)


def test_comfyui_parts_of_the_canvas_and_nulls_are_read() -> None:
    person = {"pose_keypoints_2d": [0.25, 0.5, 1.0] + [0, 0, 0] * 17, "face_keypoints_2d": None}
    frame = {"people": [person], "canvas_width": 200, "canvas_height": 100}
    poses = parse_comfyui([frame, frame], "node", fps=Fraction(8))
    assert tuple(poses.points[1, 0, 0]) == (50, 50)
    assert poses.canvas == (200, 100)
    assert parse_comfyui(frame, "node", fps=None).frames == 1


def broken(change: Callable[[Any], object]) -> Callable[[Any], Any]:
    def apply(record: Any) -> Any:
        change(record)
        return record

    return apply


def first_person(record: Any) -> Any:
    frame = record[0] if isinstance(record, list) else record
    return (frame.get("people") or frame.get("annotations"))[0]


def body_of(record: Any) -> Any:
    person = first_person(record)
    return person["keypoints" if "keypoints" in person else "pose_keypoints_2d"]


WRONG = {
    "a list too short": (broken(lambda r: body_of(r).pop()), "must be a list of"),
    "text in a list": (
        broken(lambda r: body_of(r).__setitem__(0, "x")),
        "not finite numbers",
    ),
    "infinity": (
        broken(lambda r: body_of(r).__setitem__(1, float("inf"))),
        "not finite numbers",
    ),
    "nothing at all": (lambda r: {}, "not an OpenPose frame|does not say how large"),
    "a number": (lambda r: 7, "not an OpenPose frame|does not say how large"),
}


@pytest.mark.parametrize("format", ["openpose", "comfyui", "coco-wholebody"])
@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_named(tmp_path: Path, format: str, case: str) -> None:
    change, message = WRONG[case]
    path = export_poses(dancer(2), tmp_path / "out.json", format)
    file = sorted(path.iterdir())[0] if path.is_dir() else path
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(PoseError, match=message) as caught:
        import_poses(path, canvas=(576, 1024), fps=Fraction(30))
    assert str(file) in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["people", "canvas_width", "canvas_height", "images", "annotations", "id", "width",
                 "height", "info", "keypoints", "pose_keypoints_2d", "image_id", "fps", "times"]
            ),
            inner,
            max_size=5,
        ),
        max_leaves=20,
    )
)  # fmt: skip
def test_any_json_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    path = tmp_path_factory.mktemp("json") / "any.json"
    path.write_text(json.dumps(value))
    try:
        poses = import_poses(path, canvas=(64, 48), fps=Fraction(10))
    except PoseError:
        return
    assert poses.frames >= 1


def test_what_a_format_does_not_say_must_be_told(tmp_path: Path) -> None:
    poses = dancer(2)
    folder = export_poses(poses, tmp_path / "frames", "openpose")
    comfyui = export_poses(poses, tmp_path / "list.json", "comfyui")
    assert import_poses(folder).canvas == poses.canvas
    assert import_poses(comfyui, fps=Fraction(1)).fps == poses.fps
    for file in (*folder.iterdir(), comfyui):  # as other programs write them
        text = re.sub(r', "fps": "[0-9/]+"', "", file.read_text())
        if file != comfyui:
            text = re.sub(r', "canvas_(width|height)": [0-9]+', "", text)
        file.write_text(text)
    with pytest.raises(PoseError, match="how large its pictures were"):
        import_poses(folder, fps=Fraction(30))
    with pytest.raises(PoseError, match="give the fps"):
        import_poses(folder, canvas=(10, 10))
    with pytest.raises(PoseError, match="give the fps"):
        import_poses(comfyui)


@pytest.mark.parametrize("fps", [0, -1, "fast", "1/0", [25], 1e9, True])
def test_a_rate_that_is_none_is_refused(tmp_path: Path, fps: object) -> None:
    path = export_poses(dancer(2), tmp_path / "list.json", "comfyui")
    frames = json.loads(path.read_text())
    frames[0]["fps"] = fps
    path.write_text(json.dumps(frames))
    with pytest.raises(PoseError, match=r"list\.json: its fps is not a number"):
        import_poses(path)


def test_frames_go_by_the_numbers_in_their_names(tmp_path: Path) -> None:
    poses = dancer(11)
    folder = export_poses(poses, tmp_path / "frames", "openpose")
    for file in sorted(folder.iterdir()):
        number = int(re.findall(r"\d+", file.name)[-1])
        file.rename(folder / f"frame{number}.json")
    np.testing.assert_allclose(import_poses(folder).points[10], poses.points[10], atol=1e-2)


@pytest.mark.parametrize("name", ["film.mp4", "film.npz", "film.json"])
def test_a_video_in_place_of_poses_is_named_in_our_own_words(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(range(255, 127, -1)) * 9)
    with pytest.raises(PoseError, match=f"{name} is not a pose file; `cnx pose extract`"):
        import_poses(tmp_path / name)


def test_missing_cut_off_and_empty_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(PoseError, match="cannot be read"):
        import_poses(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text('[{"people": [')
    with pytest.raises(PoseError, match="cut off"):
        import_poses(tmp_path / "cut.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PoseError, match=r"holds no \.json"):
        import_poses(tmp_path / "empty", canvas=(1, 1))
    with pytest.raises(PoseError, match="unknown pose format 'bvh'"):
        export_poses(dancer(1), tmp_path / "a.bvh", "bvh")


def test_a_rendered_skeleton_is_taken_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8)
    np.testing.assert_array_equal(rendered_frame(image, (48, 64)), image)
    np.testing.assert_array_equal(
        rendered_frame(image, (48, 64), swap_red_blue=True), image[..., ::-1]
    )
    flat = np.full((64, 48, 3), 77, np.uint8)
    assert (rendered_frame(flat, (96, 128)) == 77).all()
    small = rendered_frame(image, (24, 32))
    average = image.reshape(32, 2, 24, 2, 3).mean(axis=(1, 3))
    assert np.abs(small - average).max() <= 1
    with pytest.raises(PoseError, match="proportions differ"):
        rendered_frame(image, (64, 64))
    with pytest.raises(PoseError, match="8-bit RGB"):
        rendered_frame(image[..., 0], (48, 64))
