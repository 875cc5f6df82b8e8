"""Retargeting: the published fit to parity, and the better ones against known truth."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from pose.draw import draw_parts
from pose.errors import PoseError
from pose.layout import FACE, HANDS, LEFT_ANKLE, LEFT_HIP, LIMBS, POINTS, RIGHT_ANKLE
from pose.retarget import MODES, affine_parts, retarget
from pose.sequence import PoseSequence
from scripts.benchmarks._dancer import Build, dancer
from tests.pose.test_draw import differing, vectors

LEGS = [9, 10, 12, 13, *range(18, 24)]
FITS = [mode for mode in MODES if mode != "none"]


def still(build: Build | None = None, canvas: tuple[int, int] = (576, 1024)) -> PoseSequence:
    return dancer(1, build, canvas=canvas, energy=0)


def hidden(poses: PoseSequence, points: list[int]) -> PoseSequence:
    scores = poses.scores.copy()
    scores[:, :, points] = 0
    return replace(poses, scores=scores)


def moved(poses: PoseSequence, scale: float, x: float, y: float) -> PoseSequence:
    return replace(poses, points=poses.points * np.float32(scale) + np.float32([x, y]))


def test_the_published_fit_is_met() -> None:
    tensors, settings = vectors()
    (height, width), (driving_height, driving_width) = (
        settings["sizes"][0],
        settings["driving_size"],
    )
    body, face, hands = affine_parts(
        body=tensors["retarget.body"],
        face=tensors["retarget.face"],
        hands=tensors["retarget.hands"],
        reference_body=tensors["retarget.reference_body"],
        reference_scores=tensors["retarget.reference_body_score"],
        driving_size=(driving_width, driving_height),
        reference_size=(width, height),
    )
    for name, part in (("body", body), ("face", face), ("hands", hands)):
        apart = np.abs(part - tensors[f"retarget.expected_{name}"]) * (width, height)
        assert apart.max() < 1e-3
    drawn = draw_parts(
        body=body[0],
        body_scores=tensors["retarget.body_score"][0],
        face=face[0],
        face_scores=tensors["retarget.face_score"][0],
        hands=hands[0],
        hand_scores=tensors["retarget.hands_score"][0],
        size=(width, height),
    )
    assert differing(drawn, tensors["retarget.first_image"]) <= 0.005


def test_the_published_fit_of_sequences_is_met() -> None:
    tensors, settings = vectors()
    height, width = settings["sizes"][0]
    driving_height, driving_width = settings["driving_size"]
    frames = len(tensors["retarget.body"])
    points, scores = np.zeros((frames, 1, POINTS, 2)), np.zeros((frames, 1, POINTS))
    points[:, 0, :18], scores[:, 0, :18] = tensors["retarget.body"], tensors["retarget.body_score"]
    points[:, 0, FACE], scores[:, 0, FACE] = (
        tensors["retarget.face"],
        tensors["retarget.face_score"],
    )
    for i, hand in enumerate(HANDS):
        points[:, 0, hand] = tensors["retarget.hands"][:, i]
        scores[:, 0, hand] = tensors["retarget.hands_score"][:, i]
    driving = PoseSequence(
        points=points * (driving_width, driving_height),
        scores=scores,
        canvas=(driving_width, driving_height),
        fps=Fraction(30),
        times=np.arange(frames) / 30,
    )
    place, joints = np.zeros((1, 1, POINTS, 2)), np.zeros((1, 1, POINTS))
    place[0, 0, :18] = tensors["retarget.reference_body"] * (width, height)
    joints[0, 0, :18] = tensors["retarget.reference_body_score"]
    reference = PoseSequence(
        points=place, scores=joints, canvas=(width, height), fps=Fraction(1), times=np.zeros(1)
    )
    result = retarget(driving, reference, "affine").sequence
    expected = tensors["retarget.expected_body"] * (width, height)
    assert np.abs(result.points[:, 0, :18] - expected).max() < 1e-3
    assert result.canvas == (width, height)


@pytest.mark.parametrize("mode", FITS)
def test_a_driver_in_the_reference_own_pose_lands_on_it(mode: str) -> None:
    reference = still()
    driving = moved(dancer(5, energy=0, canvas=(400, 700)), 0.4, 31, 17)
    result = retarget(driving, reference, mode)
    np.testing.assert_allclose(
        result.sequence.points, np.repeat(reference.points, 5, axis=0), atol=0.05
    )
    assert result.scale == pytest.approx(2.5, rel=1e-4)
    assert result.mismatch < 1e-3
    assert result.warnings == ()
    assert result.mode == mode


def test_the_robust_scale_is_not_bent_by_motion_or_outliers() -> None:
    reference = still(Build(height=700))
    driving = moved(dancer(60, Build(height=700)), 0.5, 10, 60)
    points = driving.points.copy()
    generator = np.random.default_rng(0)
    wrong = generator.random(points.shape[:3]) < 0.1
    points[wrong] = generator.uniform(0, 1000, (int(wrong.sum()), 2))
    driving = replace(driving, points=points)
    robust = retarget(driving, reference, "robust")
    affine = retarget(driving, reference, "affine")
    assert robust.scale == pytest.approx(2, rel=0.05)
    assert abs(affine.scale - 2) > 2 * abs(robust.scale - 2)


def test_a_low_score_joint_says_nothing() -> None:
    reference = still()
    driving = dancer(20)
    points, scores = driving.points.copy(), driving.scores.copy()
    points[:, :, LEFT_HIP], scores[:, :, LEFT_HIP] = 5000, 0.1
    without = retarget(replace(driving, points=points, scores=scores), reference)
    points[:, :, LEFT_HIP] = -300
    again = retarget(replace(driving, points=points, scores=scores), reference)
    assert without.scale == again.scale
    assert without.scale == pytest.approx(1, rel=0.05)


def test_half_a_body_is_placed_as_the_whole_would_be() -> None:
    reference = still(Build(height=1500, feet=(288, 1500)))
    half = hidden(reference, [*LEGS, 8, 11])
    driving = dancer(40)
    whole = retarget(driving, reference)
    result = retarget(driving, half)
    assert result.scale == pytest.approx(1500 / 800, rel=0.06)
    neck = np.abs(result.sequence.points[:, 0, 1] - whole.sequence.points[:, 0, 1])
    assert neck.max() < 0.04 * 1500
    assert any("only its head and shoulders" in warning for warning in result.warnings)
    assert result.mismatch > whole.mismatch


def test_a_driver_without_legs_is_told() -> None:
    result = retarget(hidden(dancer(10), LEGS), still())
    assert any("the reference shows legs" in warning for warning in result.warnings)


@pytest.mark.parametrize("mode", ["robust", "limbs"])
def test_sitting_against_standing_is_told(mode: str) -> None:
    sitting = still(Build(sitting=True))
    result = retarget(dancer(20), sitting, mode)
    assert any("the driver stands, the reference sits" in warning for warning in result.warnings)
    assert result.mismatch > retarget(dancer(20), still(), mode).mismatch
    result = retarget(dancer(20, Build(sitting=True)), still(), mode)
    assert any("the driver sits or crouches" in warning for warning in result.warnings)


def test_a_back_against_a_face_and_lying_against_upright_are_told() -> None:
    reference = still()
    points = reference.points.copy()
    turned = replace(reference, points=points * [-1, 1] + [576, 0])
    assert any("back to the camera" in w for w in retarget(dancer(5), turned).warnings)
    lying = replace(reference, points=points[..., ::-1])
    assert any("upright" in w for w in retarget(dancer(5), lying).warnings)


def test_motion_out_of_the_picture_is_told() -> None:
    reference = still(Build(height=1800, feet=(40, 1000)), canvas=(300, 1024))
    driving = dancer(20)
    wide = replace(driving, points=driving.points * np.float32([4, 1]))
    assert any("outside the reference picture" in w for w in retarget(wide, reference).warnings)


def test_limbs_take_the_reference_lengths_and_keep_their_angles() -> None:
    reference = still(Build(arms=1.25, legs=0.8))
    driving = dancer(40)
    points = retarget(driving, reference, "limbs").sequence.points[:, 0].astype(np.float64)
    own = driving.points[:, 0].astype(np.float64)
    place = reference.points[0, 0]
    for a, b in LIMBS:
        if (a, b) in ((1, 8), (1, 11)):
            continue  # drawn from the neck to a hip, which are two bones: trunk and hip
        bone, before = points[:, b] - points[:, a], own[:, b] - own[:, a]
        np.testing.assert_allclose(
            np.arctan2(bone[:, 1], bone[:, 0]), np.arctan2(before[:, 1], before[:, 0]), atol=1e-4
        )
    for a, b in ((2, 3), (3, 4), (5, 6), (6, 7)):
        lengths = np.linalg.norm(points[:, b] - points[:, a], axis=1)
        assert lengths.mean() == pytest.approx(np.linalg.norm(place[b] - place[a]), rel=0.03)


def test_limbs_keep_feet_on_the_ground() -> None:
    reference = still(Build(legs=0.75))
    driving = dancer(60)
    feet = [RIGHT_ANKLE, LEFT_ANKLE, *range(18, 24)]
    ground = reference.points[0, 0, feet, 1].max()

    def off_the_ground(mode: str) -> float:
        points = retarget(driving, reference, mode).sequence.points
        return float(np.abs(points[:, 0, feet, 1].max(axis=1) - ground).max())

    assert off_the_ground("limbs") < 1
    assert off_the_ground("robust") > 10


def test_limbs_that_a_picture_foreshortens_keep_their_length() -> None:
    reference = still(Build(sitting=True))
    driving = dancer(10, energy=0)
    points = retarget(driving, reference, "limbs").sequence.points
    thigh = np.linalg.norm(points[0, 0, LEFT_HIP] - points[0, 0, 12])
    assert thigh == pytest.approx(0.24 * 800, rel=0.25)


@pytest.mark.parametrize("mode", FITS)
def test_hands_are_as_large_as_the_face_says(mode: str) -> None:
    reference = still(Build(arms=0.7))
    points = retarget(dancer(10), reference, mode).sequence.points
    own, hand = dancer(10).points, slice(92, 113)
    before = np.linalg.norm(own[:, 0, hand] - own[:, 0, 92:93], axis=2)
    after = np.linalg.norm(points[:, 0, hand] - points[:, 0, 92:93], axis=2)
    np.testing.assert_allclose(after, before, rtol=0.05, atol=0.5)


@pytest.mark.parametrize("mode", FITS)
def test_frames_without_a_person_stay_without(mode: str) -> None:
    driving = dancer(12)
    scores = driving.scores.copy()
    scores[3:6] = 0
    points = driving.points.copy()
    points[3:6] = 1e6
    driving = replace(driving, scores=scores, points=points)
    result = retarget(driving, still(), mode)
    np.testing.assert_array_equal(result.sequence.scores, scores)
    assert not result.sequence.present[3:6].any()
    assert result.scale == pytest.approx(1, rel=0.2)


def test_a_close_up_after_a_cut_gets_its_own_fit() -> None:
    reference = still()
    far, near = dancer(30), moved(dancer(20), 3, -500, -300)
    clip = replace(
        far,
        points=np.concatenate([far.points, near.points]),
        scores=np.concatenate([far.scores, near.scores]),
        times=np.arange(50) / 30,
        cuts=(30,),
    )
    result = retarget(clip, reference).sequence
    size = np.linalg.norm(result.points[:, 0, 1] - result.points[:, 0, 8], axis=1)
    assert size[30:].mean() == pytest.approx(size[:30].mean(), rel=0.05)
    # The same clip with a cut that is none: nothing may jump there.
    smooth = retarget(replace(dancer(50), cuts=(30,)), reference).sequence.points
    np.testing.assert_allclose(smooth, retarget(dancer(50), reference).sequence.points, atol=1e-3)


def test_other_people_are_left_out_and_told() -> None:
    one = dancer(6)
    two = replace(
        one,
        points=np.concatenate([one.points, one.points + 80], axis=1),
        scores=np.concatenate([one.scores, one.scores], axis=1),
    )
    result = retarget(two, still())
    np.testing.assert_array_equal(result.sequence.points, retarget(one, still()).sequence.points)
    assert any("driving video holds 2 people" in warning for warning in result.warnings)
    assert retarget(two, still(), "affine").sequence.people == 1
    assert retarget(two, still(), "none").sequence.people == 2


def test_nothing_in_common_is_told_not_a_crash() -> None:
    reference = hidden(still(), [*LEGS, 8, 11])
    driving = hidden(dancer(6), [*range(8), *range(14, 18), *range(24, POINTS)])
    result = retarget(driving, reference)
    assert result.mismatch == 1
    assert any("no part of the body in common" in warning for warning in result.warnings)
    assert np.isfinite(result.sequence.points).all()
    with pytest.raises(PoseError, match="affine fit needs two joints"):
        retarget(driving, reference, "affine")


def test_without_retargeting_the_picture_is_fitted_whole() -> None:
    driving = dancer(3, canvas=(576, 1024))
    result = retarget(driving, still(canvas=(1000, 512)), "none")
    assert result.scale == 0.5
    np.testing.assert_allclose(
        result.sequence.points, driving.points * 0.5 + [(1000 - 288) / 2, 0], atol=1e-3
    )


def test_nobody_to_lay_motion_onto_is_named() -> None:
    nobody = hidden(still(), list(range(POINTS)))
    with pytest.raises(PoseError, match="no person is seen in the reference"):
        retarget(dancer(3), nobody)
    with pytest.raises(PoseError, match="no person is seen in any driving frame"):
        retarget(hidden(dancer(3), list(range(POINTS))), still())
    with pytest.raises(PoseError, match="unknown retargeting mode 'best'"):
        retarget(dancer(3), still(), "best")
    assert retarget(dancer(3), nobody, "none").mismatch == 1
