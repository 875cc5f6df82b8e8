"""The reference's person brought into other poses, limb by limb."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from animate.driving.body_parts import affine_map, bone_map, similarity_map
from animate.driving.limb_warp import LimbWarp
from pose import layout
from pose.sequence import PoseSequence
from tests.scene import BODY

SIZE = (96, 144)
SCORES = np.r_[np.ones(18), np.zeros(116)]


def standing() -> np.ndarray:
    """(134,2): the figure's body."""
    points = np.zeros((134, 2))
    points[layout.BODY] = BODY * SIZE
    return points


def raised() -> np.ndarray:
    """The figure with its left arm stretched out to the side."""
    points = standing()
    shoulder = points[layout.LEFT_SHOULDER]
    points[layout.LEFT_ELBOW] = shoulder + np.array([15, 0])
    points[layout.LEFT_WRIST] = shoulder + np.array([30, 0])
    return points


def figure(points: np.ndarray) -> np.ndarray:
    """(H,W,3): a red left forearm, a blue trunk, a green place."""
    image = np.full((SIZE[1], SIZE[0], 3), (40, 160, 60), np.uint8)
    corners = points[
        [layout.RIGHT_SHOULDER, layout.LEFT_SHOULDER, layout.LEFT_HIP, layout.RIGHT_HIP]
    ]
    cv2.fillConvexPoly(image, corners.round().astype(np.int32), (20, 30, 220))
    ends = points[[layout.LEFT_ELBOW, layout.LEFT_WRIST]].round().astype(int).tolist()
    cv2.line(image, ends[0], ends[1], (230, 20, 20), 5)
    return image


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def test_a_limb_goes_where_its_bone_goes_and_leaves_where_it_was() -> None:
    warped = LimbWarp(figure(standing()), standing(), SCORES)(raised(), SCORES).astype(int)
    middle = raised()[[layout.LEFT_ELBOW, layout.LEFT_WRIST]].mean(0).astype(int)
    before = standing()[[layout.LEFT_ELBOW, layout.LEFT_WRIST]].mean(0).astype(int)
    assert np.abs(warped[middle[1], middle[0]] - (230, 20, 20)).max() < 40
    assert np.abs(warped[before[1], before[0]] - (40, 160, 60)).max() < 60  # was (230, 20, 20)
    trunk = standing()[[layout.NECK, layout.RIGHT_HIP]].mean(0).astype(int)
    assert np.abs(warped[trunk[1], trunk[0]] - (20, 30, 220)).max() < 20
    assert np.abs(warped[2, 2] - (40, 160, 60)).max() < 3


def test_the_warped_picture_is_nearer_to_the_truth_than_the_reference() -> None:
    truth, reference = figure(raised()).astype(float), figure(standing())
    warped = LimbWarp(reference, standing(), SCORES)(raised(), SCORES)
    assert ((warped - truth) ** 2).mean() < 0.5 * ((reference - truth) ** 2).mean()


def test_the_pose_of_the_reference_gives_the_person_again() -> None:
    reference = figure(standing())
    warped = LimbWarp(reference, standing(), SCORES)(standing(), SCORES).astype(int)
    inside = reference[..., 1] != 160
    assert np.abs(warped - reference)[inside].mean() < 12


def test_who_is_not_seen_leaves_the_picture_as_it_is() -> None:
    reference = figure(standing())
    nothing = np.zeros(134)
    assert np.array_equal(LimbWarp(reference, standing(), nothing)(raised(), SCORES), reference)
    assert np.array_equal(LimbWarp(reference, standing(), SCORES)(raised(), nothing), reference)


def test_a_limb_that_is_seen_in_one_pose_only_is_left_out() -> None:
    hidden = SCORES.copy()
    hidden[layout.LEFT_WRIST] = 0
    warped = LimbWarp(figure(standing()), standing(), SCORES)(raised(), hidden).astype(int)
    x, y = raised()[layout.LEFT_WRIST].astype(int)
    assert np.abs(warped[y, x] - (40, 160, 60)).max() < 40


def test_poses_outside_the_picture_change_nothing_and_fail_nowhere() -> None:
    far = standing() + 5000
    warped = LimbWarp(figure(standing()), standing(), SCORES)(far, SCORES)
    assert warped.shape == (144, 96, 3)


def test_joints_that_fall_together_give_a_picture() -> None:
    flat = np.repeat(standing()[layout.NECK][None], 134, 0)
    warped = LimbWarp(figure(standing()), standing(), SCORES)(flat, SCORES)
    assert np.isfinite(warped).all()
    LimbWarp(figure(standing()), flat, SCORES)(standing(), SCORES)


def test_a_large_picture_is_warped_as_a_small_one() -> None:
    small = LimbWarp(figure(standing()), standing(), SCORES)(raised(), SCORES)
    enlarged = cv2.resize(figure(standing()), None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
    large = LimbWarp(enlarged, 3 * standing(), SCORES)(3 * raised(), SCORES)
    reduced = cv2.resize(large, SIZE, interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(reduced - small).mean() < 4


def test_frames_follow_the_first_person() -> None:
    limbs = LimbWarp(figure(standing()), standing(), SCORES)
    poses = PoseSequence(
        points=np.stack([standing(), raised()])[:, None].astype(np.float32),
        scores=np.repeat(SCORES[None, None], 2, 0).astype(np.float32),
        canvas=SIZE,
        fps=Fraction(12),
        times=np.arange(2) / 12,
    )
    picture_of = limbs.follow(poses)
    assert np.array_equal(picture_of(1), limbs(poses.points[1, 0], SCORES))
    assert not np.array_equal(picture_of(0), picture_of(1))


def test_a_bone_is_stretched_along_and_keeps_its_width() -> None:
    bone, longer = np.array([[10.0, 10], [10, 20]]), np.array([[50.0, 50], [70, 50]])
    matrix = bone_map(bone, longer)
    np.testing.assert_allclose(apply(matrix, bone), longer)
    beside = apply(matrix, bone + np.array([3, 0])) - longer
    np.testing.assert_allclose(np.abs(beside), [[0, 3], [0, 3]], atol=1e-9)


def test_a_similarity_turns_and_scales_within_bounds() -> None:
    points = np.array([[0.0, 0], [4, 0], [0, 2]])
    turned = 1.5 * points @ np.array([[0, 1], [-1, 0]]) + (7, 8)
    np.testing.assert_allclose(apply(similarity_map(points, turned), points), turned, atol=1e-9)
    huge = similarity_map(points, 10 * points)
    assert np.linalg.norm(huge[:, 0]) == pytest.approx(1.6)


def test_an_affine_map_fits_and_does_not_stretch_a_person_who_turned_sideways() -> None:
    points = np.array([[0.0, 0], [4, 0], [4, 6], [0, 6]])
    sheared = points @ np.array([[1, 0.2], [0.1, 1.3]]) + (5, 5)
    np.testing.assert_allclose(apply(affine_map(points, sheared), points), sheared, atol=1e-9)
    narrow = points * (0.05, 1)
    assert np.linalg.svd(affine_map(narrow, points)[:, :2], compute_uv=False)[0] <= 1.6
