"""Rendered shards, batches, and poses as estimators give them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from animate.driving.limb_warp import LimbWarp
from animate.errors import TrainingError
from pose import layout
from scripts.tiny.data import (
    Batch,
    Clips,
    ClipSet,
    PoseNoise,
    as_estimated,
    draw_control,
    mirrored,
    render_set,
    render_shard,
    sample_batch,
    warp,
)

SET = ClipSet(size=(32, 48), clips=3, frames=2)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    render_set(folder, SET)
    return folder


def test_a_shard_is_rendered_once_and_the_same_anywhere(cache: Path, tmp_path: Path) -> None:
    place = render_shard(cache, SET, 0, 3)
    before = (place / "images.npy").stat().st_mtime_ns
    assert render_shard(cache, SET, 0, 3) == place
    assert (place / "images.npy").stat().st_mtime_ns == before
    again = render_shard(tmp_path, SET, 0, 3)
    for name in ("images", "points", "scores"):
        np.testing.assert_array_equal(
            np.load(place / f"{name}.npy"), np.load(again / f"{name}.npy")
        )
    assert not list(cache.rglob("*.partial"))


def test_missing_shards_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not rendered"):
        Clips(tmp_path, SET)


@pytest.mark.parametrize("size", [(33, 48), (0, 16), (16,)])
def test_impossible_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(TrainingError, match="multiples of 16"):
        ClipSet(size=size, clips=1)


def test_a_mirrored_clip_keeps_names_right(cache: Path) -> None:
    images, points, scores = Clips(cache, SET).take(0, 0, 2)
    turned, places, sure = mirrored(images, points, scores)
    np.testing.assert_array_equal(turned[0, :, 0], images[0, :, -1])
    left, right = layout.LEFT_WRIST, layout.RIGHT_WRIST
    np.testing.assert_allclose(places[:, left, 0], 32 - points[:, right, 0], rtol=1e-5)
    np.testing.assert_array_equal(sure[:, left], scores[:, right])
    again = mirrored(turned, places, sure)
    np.testing.assert_array_equal(again[0], images)
    np.testing.assert_allclose(again[1], points, atol=1e-4)


def test_estimated_poses_lose_parts_and_keep_absent_ones_absent() -> None:
    rng = np.random.default_rng(0)
    points = np.full((2, layout.POINTS, 2), 16, np.float32)
    scores = np.ones((2, layout.POINTS), np.float32)
    scores[:, layout.LEFT_ANKLE] = 0
    noise = PoseNoise(no_face=1, no_hand=0, no_joint=0, jitter=0, dimmed=0)
    moved, sure = as_estimated(points, scores, 32, noise, rng)
    np.testing.assert_array_equal(moved, points)
    assert not sure[:, layout.FACE].any()
    assert not sure[:, layout.LEFT_ANKLE].any()
    assert sure[:, layout.RIGHT_HAND].all()
    noise = PoseNoise(no_face=0, no_hand=1, no_joint=0, jitter=0.02, dimmed=1)
    moved, sure = as_estimated(points, scores, 32, noise, rng)
    assert 0 < np.abs(moved - points).mean() < 3
    assert not sure[:, layout.LEFT_HAND].any()
    assert ((sure > 0.5) | (sure == 0)).all()
    assert (sure < 1).any()


def test_batches_have_their_shapes_and_follow_the_generator(cache: Path) -> None:
    clips = Clips(cache, SET)
    first, second = (
        sample_batch([clips], clips=2, frames=2, style="small", noise=PoseNoise(),
                     rng=np.random.default_rng(4))
        for _ in range(2)
    )  # fmt: skip
    assert first.reference.shape == (2, 48, 32, 3)
    assert first.frames.shape == first.control.shape == (2, 2, 48, 32, 3)
    np.testing.assert_array_equal(first.frames, second.frames)
    np.testing.assert_array_equal(first.control, second.control)
    assert first.control.any()


def test_control_frames_are_those_of_inference() -> None:
    from pose.draw import draw

    points = np.random.default_rng(0).uniform(0, 64, (1, layout.POINTS, 2)).astype(np.float32)
    scores = np.ones((1, layout.POINTS), np.float32)
    drawn = draw_control(points, scores, (64, 64), "small")
    np.testing.assert_array_equal(drawn[0], draw(points, scores, (64, 64), style="small"))


def test_warped_batches_hold_what_inference_warps_and_some_references_as_they_are(
    cache: Path,
) -> None:
    def batch(unwarped: float | None) -> Batch:
        nothing = PoseNoise(no_face=0, no_hand=0, no_joint=0, jitter=0, dimmed=0)
        return sample_batch(
            [Clips(cache, SET)], clips=3, frames=2, style="small", noise=nothing,
            rng=np.random.default_rng(4), unwarped=unwarped,
        )  # fmt: skip

    assert batch(None).warped is None
    np.testing.assert_array_equal(batch(1.0).warped[:, 1], batch(1.0).reference)
    warped = batch(0.0)
    assert warped.warped.shape == warped.frames.shape
    nearer = [
        np.abs(pictures.astype(int) - warped.frames).mean()
        for pictures in (warped.warped, warped.reference[:, None])
    ]
    assert nearer[0] < nearer[1]
    images, points, scores = Clips(cache, SET).take(0, 0, 2)
    mask = Clips(cache, SET).mask(0)
    made = warp(images[0], mask, (points[:1], scores[:1]), (points[1:], scores[1:]))
    limbs = LimbWarp(images[0], points[0], scores[0])(points[2], scores[2])
    assert np.abs(made[1].astype(int) - limbs).max() <= 1  # a mask is kept in 256 levels
