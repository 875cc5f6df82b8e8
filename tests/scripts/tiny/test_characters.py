"""The procedural character set: what a seed decides, and where the poses lie."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pose import layout
from scripts.tiny.characters import Character, render_clip
from scripts.tiny.characters.motion import Motion


def test_a_seed_always_gives_the_same_clip() -> None:
    first, second = (render_clip(5, 2, (48, 64)) for _ in range(2))
    for name in ("reference", "frames", "points", "scores", "masks", "background"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_characters_look_as_they_did() -> None:
    """Models were trained on these pictures; rounding may differ from machine to machine."""
    frames = [render_clip(seed, 1, (96, 96)).frames[0] for seed in range(8)]
    picture = np.concatenate([np.concatenate(frames[:4], 1), np.concatenate(frames[4:], 1)])
    stored = cv2.imread("tests/data/characters.png")[..., ::-1].astype(int)
    changed = np.abs(stored - picture).max(-1) > 12
    assert changed.mean() < 2e-4  # a hand without fingers on each: 4e-3


def test_another_seed_gives_another_character_and_another_motion_seed_only_another_motion() -> None:
    first, other = render_clip(5, 1, (48, 64)), render_clip(6, 1, (48, 64))
    moved = render_clip(5, 1, (48, 64), motion_seed=99)
    assert np.abs(first.background.astype(int) - other.background).mean() > 3
    np.testing.assert_array_equal(first.background, moved.background)
    assert np.abs(first.points - moved.points).max() > 1


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (64, 64)])
def test_joints_lie_on_the_figure(size: tuple[int, int]) -> None:
    joints = [layout.NECK, layout.LEFT_ELBOW, layout.RIGHT_ELBOW, layout.LEFT_KNEE,
              layout.RIGHT_KNEE, layout.LEFT_HIP, layout.NOSE]  # fmt: skip
    hits = []
    for seed in range(8):
        take = render_clip(seed, 2, size)
        for points, scores, mask in zip(take.points, take.scores, take.masks, strict=True):
            for joint in joints:
                if scores[joint]:
                    x, y = points[joint].astype(int)
                    hits.append(mask[y, x] > 100)
    assert len(hits) > 50
    assert np.mean(hits) > 0.97


def test_the_mask_covers_what_differs_from_the_background() -> None:
    take = render_clip(3, 1, (64, 96))
    changed = np.abs(take.frames[0].astype(int) - take.background).max(-1) > 60
    # The shadow on the floor darkens too, but never that much.
    assert (take.masks[0][changed] > 0).mean() > 0.97


def test_points_outside_the_picture_are_not_seen() -> None:
    take = render_clip(2, 2, (96, 96), shot="waist")
    outside = ((take.points < 0) | (take.points >= 96)).any(-1)
    assert outside.any()
    assert not take.scores[outside].any()


def test_a_full_shot_holds_the_feet_and_a_waist_shot_does_not() -> None:
    full, waist = (render_clip(4, 1, (64, 96), shot=shot) for shot in ("full", "waist"))
    assert full.scores[0, [layout.LEFT_ANKLE, layout.RIGHT_ANKLE]].all()
    assert not waist.scores[0, [layout.LEFT_ANKLE, layout.RIGHT_ANKLE]].any()


def test_motion_is_smooth() -> None:
    for seed in range(6):
        take = render_clip(seed, 6, (64, 96))
        speed = np.abs(np.diff(take.points[:, : layout.BODY.stop], axis=0)).max()
        assert speed < 12


def test_left_and_right_are_the_characters_own() -> None:
    character = Character(1, (64, 96), "full")
    pose = Motion(np.random.default_rng(0)).at(0) | {"yaw": 0.0, "twist": 0.0}
    _, points, _, _ = character.paint(pose)
    # It faces the camera, so its left is on the picture's right.
    assert points[layout.LEFT_SHOULDER, 0] > points[layout.RIGHT_SHOULDER, 0]
    assert points[layout.LEFT_EYE, 0] > points[layout.RIGHT_EYE, 0]
