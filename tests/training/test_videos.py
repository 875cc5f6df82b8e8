"""A folder of videos as training data: what is used, what is skipped, how clips are cut."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from animate.errors import TrainingError
from animate.request.values import Size
from animate.training.finetune_config import VideoRecipe, WeighedObjective
from animate.training.loss_weights import part_weights
from animate.training.samples import collate
from animate.training.video_samples import Crop, VideoSamples, choose_crop, mirror
from animate.training.videos import clip_starts, reference_frames, usable_videos
from pose import layout
from pose.sequence import PoseSequence
from tests.scene import poses
from tests.training.small import SIZE, Heard, keep_poses, nobody, write_videos


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_videos(folder / "videos", folder / "cache", ("a.mp4", "sub.d/b.mp4"), frames=20)
    return folder


def recipe(folder: Path, **changes: object) -> VideoRecipe:
    settings: dict[str, object] = {
        "folder": str(folder / "videos"),
        "size": Size(64, 64),
        "gap": 4,
        "cache": str(folder / "cache"),
    }
    return VideoRecipe(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def samples(place: Path) -> VideoSamples:
    chosen = recipe(place)
    return VideoSamples(usable_videos(chosen, 4, Heard()), chosen)


def joints_are_on_the_figure(image: np.ndarray, points: np.ndarray) -> bool:
    """Whether the drawn nose is skin-coloured where the pose has it."""
    x, y = np.round(points[layout.NOSE]).astype(int)
    colour = image[np.clip(y, 0, image.shape[0] - 1), np.clip(x, 0, image.shape[1] - 1)]
    return bool(np.abs(colour.astype(int) - (230, 190, 160)).max() < 60)


def test_poses_stay_on_the_person_through_crop_and_mirror(samples: VideoSamples) -> None:
    rng = np.random.default_rng(0)
    mirrored = 0
    for _ in range(12):
        one = samples.sample(4, rng)
        assert one.frames.shape == (4, 64, 64, 3)
        assert one.reference.shape == (64, 64, 3)
        for frame, points in zip(one.frames, one.points, strict=True):
            assert joints_are_on_the_figure(frame, points), one.name
        right = one.points[:, layout.RIGHT_SHOULDER, 0]
        left = one.points[:, layout.LEFT_SHOULDER, 0]
        # The figure faces the camera: its own right is at the picture's left, until it is mirrored
        # together with the names of its joints.
        assert (right < left).all()
        mirrored += one.name.endswith("mirrored")
    assert 0 < mirrored < 12


def test_a_mirrored_clip_turns_pictures_and_names(samples: VideoSamples) -> None:
    one = samples.held_out(4, 1)[0]
    turned = mirror(one)
    np.testing.assert_array_equal(turned.frames[:, :, 0], one.frames[:, :, -1])
    np.testing.assert_array_equal(turned.reference[:, 0], one.reference[:, -1])
    np.testing.assert_allclose(
        turned.points[:, layout.LEFT_WRIST, 0],
        64 - one.points[:, layout.RIGHT_WRIST, 0],
        atol=1e-4,
    )
    assert turned.points[0, layout.RIGHT_WRIST, 0] < turned.points[0, layout.LEFT_WRIST, 0]


def test_draws_decide_the_clip(samples: VideoSamples) -> None:
    one, same, other = (samples.sample(3, np.random.default_rng(s)) for s in (4, 4, 5))
    assert one.name == same.name != other.name
    np.testing.assert_array_equal(one.frames, same.frames)


def test_the_reference_is_apart_from_the_clip(samples: VideoSamples) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        name = samples.sample(4, rng).name.removesuffix(", mirrored")
        first, last, reference = (
            int(word.rstrip(",")) for word in np.array(name.split())[[2, 4, 6]]
        )
        assert last == first + 3
        away = max(first - reference, reference - last)
        assert away >= 4 or (first <= 7 and last >= 12)


def test_references_are_the_farthest_where_none_is_far_enough() -> None:
    sequence = poses(10, size=SIZE)
    assert reference_frames(sequence, 2, 4, 3).tolist() == [8, 9]
    assert reference_frames(sequence, 2, 4, 50).tolist() == [9]
    assert reference_frames(sequence, 0, 10, 3).size  # the whole video: its own frames


def test_clips_begin_within_a_shot_and_where_the_person_is_seen() -> None:
    whole = poses(12, size=SIZE)
    scores = whole.scores.copy()
    scores[9:] = 0
    cut = PoseSequence(
        points=whole.points, scores=scores, canvas=SIZE, fps=Fraction(12), times=whole.times,
        cuts=(5,),
    )  # fmt: skip
    chosen = VideoRecipe(folder="x", size=Size(64, 64), seen=1.0)
    assert clip_starts(cut, 3, chosen).tolist() == [0, 1, 2, 5, 6]
    some = VideoRecipe(folder="x", size=Size(64, 64), seen=0.6)
    assert clip_starts(cut, 3, some).tolist() == [0, 1, 2, 5, 6, 7]
    strided = VideoRecipe(folder="x", size=Size(64, 64), seen=1.0, stride=2)
    assert clip_starts(cut, 3, strided).tolist() == [0]


def test_a_crop_moves_pictures_and_points_alike() -> None:
    image = np.zeros((80, 120, 3), np.uint8)
    image[30:34, 60:64] = 255  # centre (62, 32)
    for size in (Size(32, 32), Size(160, 160)):  # shrinks, and grows
        crop = Crop(x=40, y=10, width=50, height=50)
        seen = crop.picture(image, size).astype(float).sum(-1)
        rows, columns = np.indices(seen.shape)
        centre = np.array([(columns + 0.5) * seen, (rows + 0.5) * seen]).sum((1, 2)) / seen.sum()
        expected = crop.points(np.array([[62.0, 32.0]], np.float32), size)[0]
        np.testing.assert_allclose(centre, expected, atol=0.15)


def test_crops_hold_the_person(samples: VideoSamples) -> None:
    rng = np.random.default_rng(2)
    video = samples.videos[0]
    widths = set()
    for _ in range(20):
        crop = choose_crop(video, [0, 5, 6, 7], samples.recipe, rng)
        seen = crop.points(video.poses.points[[0, 5, 6, 7], 0, :18], samples.recipe.size)
        assert (seen > 0).all()
        assert (seen < 64).all()
        widths.add(round(crop.width))
    assert len(widths) > 3


def test_what_cannot_be_used_is_listed_with_its_reason(tmp_path: Path) -> None:
    write_videos(tmp_path / "videos", tmp_path / "cache", ("good.mp4", "short.mp4"), frames=12)
    (tmp_path / "videos" / "text.mp4").write_text("no video")
    (tmp_path / "videos" / "notes.txt").write_text("not looked at")
    nobody(tmp_path / "videos", "nobody.mp4")
    heard = Heard()
    chosen = recipe(tmp_path)
    videos = usable_videos(chosen, 12, heard)
    assert [video.name for video in videos] == ["good.mp4", "short.mp4"]
    skipped = " ".join(heard.warnings)
    assert "text.mp4" in skipped
    assert "nobody.mp4: nobody is seen in it" in skipped
    assert "notes" not in skipped
    assert "2 skipped" in heard.notes[-1]
    with pytest.raises(TrainingError, match="none of the 4 videos") as caught:
        usable_videos(chosen, 40, Heard())
    assert "good.mp4" in str(caught.value)
    assert "40 frames that a clip spans" in str(caught.value)


def test_somebody_must_be_left_to_train_on(samples: VideoSamples) -> None:
    with pytest.raises(TrainingError, match="hold_out 2 leaves none of 2"):
        VideoSamples(samples.videos, replace(samples.recipe, hold_out=2))


def test_an_empty_or_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"videos does not exist"):
        usable_videos(recipe(tmp_path), 3, Heard())
    (tmp_path / "videos").mkdir()
    with pytest.raises(TrainingError, match=r"holds no videos \(\.mp4"):
        usable_videos(recipe(tmp_path), 3, Heard())


def test_what_decord_refuses_is_read_by_pyav_and_said(place: Path, tmp_path: Path) -> None:
    import av

    (tmp_path / "videos").mkdir()
    target = tmp_path / "videos" / "a.avi"
    with av.open(str(place / "videos" / "a.mp4")) as given, av.open(str(target), "w") as out:
        stream = out.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for frame in given.decode(video=0):
            picture = frame.to_ndarray(format="rgb24")
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(stream.encode(None))
    keep_poses(target, tmp_path / "cache", 20)
    heard = Heard()
    chosen = recipe(tmp_path)
    one = VideoSamples(usable_videos(chosen, 4, heard), chosen).sample(4, np.random.default_rng(0))
    assert any("read with PyAV" in note and "decord" in note for note in heard.notes)
    assert joints_are_on_the_figure(one.frames[0], one.points[0])


def test_hands_face_and_skeleton_weigh_more() -> None:
    points = np.full((1, 2, layout.POINTS, 2), -100.0, np.float32)
    scores = np.zeros((1, 2, layout.POINTS), np.float32)
    face = np.random.default_rng(0).uniform(16, 31, (layout.FACE.stop - layout.FACE.start, 2))
    points[0, 0, layout.FACE] = face
    scores[0, 0, layout.FACE] = 1
    control = torch.zeros(1, 2, 3, 64, 64)
    control[0, :, :, 50, 4:60] = 1
    objective = WeighedObjective(near_weight=2, face_weight=6, hand_weight=4)
    weights = part_weights(objective, control, points, scores, (8, 8))
    torch.testing.assert_close(weights.mean((2, 3, 4)), torch.ones(1, 2))
    plain = weights[0, 0, 0, 0, 7]
    assert weights[0, 0, 0, 2, 3] == pytest.approx(6 * float(plain))
    assert weights[0, 0, 0, 6, 3] == pytest.approx(2 * float(plain))
    assert weights[0, 1, 0, 2, 3] == weights[0, 1, 0, 0, 7]  # nobody's face in the second frame


def test_batches_have_skeletons_as_inference_draws_them(samples: VideoSamples) -> None:
    from pose.draw import draw

    clips = [samples.sample(2, np.random.default_rng(s)) for s in (0, 1)]
    batch = collate(clips, "small")
    assert batch.frames.shape == batch.control.shape == (2, 2, 64, 64, 3)
    expected = draw(clips[1].points[1][None], clips[1].scores[1][None], (64, 64), (64, 64), "small")
    np.testing.assert_array_equal(batch.control[1, 1], expected)
    assert cv2.countNonZero(batch.control[0, 0].max(-1)) > 50
