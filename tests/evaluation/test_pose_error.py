"""Pose errors in trunks, on people who stand where the test puts them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from animate.evaluation.pose_error import enlarged, on_clip, pose_scores, trunks
from animate.evaluation.scores import Score
from pose.errors import PoseError
from pose.layout import BODY, LEFT_HIP, LEFT_SHOULDER, NECK, POINTS, RIGHT_HIP, RIGHT_SHOULDER
from pose.sequence import PoseSequence

TRUNK = 40.0


def standing(frames: int = 6, people: int = 1, fps: int = 10) -> PoseSequence:
    """People whose trunk is 40 pixels long, 100 pixels apart; only bodies are seen."""
    points = np.full((frames, people, POINTS, 2), 50, np.float32)
    points[..., NECK, :] = (50, 20)
    points[..., RIGHT_HIP, :], points[..., LEFT_HIP, :] = (40, 20 + TRUNK), (60, 20 + TRUNK)
    points += 100 * np.arange(people, dtype=np.float32)[None, :, None, None]
    scores = np.zeros((frames, people, POINTS), np.float32)
    scores[..., BODY] = 1
    return PoseSequence(
        points=points,
        scores=scores,
        canvas=(400, 300),
        fps=Fraction(fps),
        times=np.arange(frames) / fps,
    )


def moved(poses: PoseSequence, pixels: float) -> PoseSequence:
    return replace(poses, points=poses.points + np.float32((pixels, 0)))


def by_name(scores: list[Score]) -> dict[str, Score]:
    return {score.measure: score for score in scores}


def test_an_error_is_measured_in_trunks() -> None:
    scores = by_name(pose_scores(standing(), moved(standing(), 0.1 * TRUNK)))
    assert scores["pose_error"].value == pytest.approx(0.1, rel=1e-5)
    assert scores["pose_share"].value == 100
    assert scores["pose_seen"].value == 100
    assert scores["missed_frames"].value == 0
    assert "pose_error_face" not in scores
    far = by_name(pose_scores(standing(), moved(standing(), 0.3 * TRUNK)))
    assert far["pose_share"].value == 0


def test_the_figure_does_not_depend_on_the_size_of_the_picture() -> None:
    control, shown = standing(), moved(standing(), 6)
    large = [
        replace(poses, points=poses.points * np.float32(3), canvas=(1200, 900))
        for poses in (control, shown)
    ]
    assert by_name(pose_scores(*large))["pose_error"].value == pytest.approx(
        by_name(pose_scores(control, shown))["pose_error"].value, rel=1e-5
    )


def test_frames_without_the_person_are_counted_and_have_no_error() -> None:
    shown = standing()
    scores = shown.scores.copy()
    scores[2:4] = 0
    result = by_name(pose_scores(standing(), replace(shown, scores=scores)))
    assert result["missed_frames"].value == 2
    assert result["pose_error"].curve[2] is None
    assert result["pose_seen"].value == pytest.approx(100 * 4 / 6)


def test_frames_in_which_nobody_was_asked_for_do_not_count() -> None:
    control = standing()
    scores = control.scores.copy()
    scores[0] = 0
    result = by_name(pose_scores(replace(control, scores=scores), standing()))
    assert result["missed_frames"].curve[0] is None
    with pytest.raises(PoseError, match="nobody was asked"):
        pose_scores(replace(control, scores=0 * scores), standing())


def test_nobody_on_the_clip_is_all_frames_missed() -> None:
    nobody = standing(people=2)
    nobody = replace(nobody, points=nobody.points[:, :0], scores=nobody.scores[:, :0])
    result = by_name(pose_scores(standing(), nobody))
    assert result["missed_frames"].value == 6
    assert result["pose_seen"].value == 0
    assert "pose_error" not in result


def test_of_several_people_the_one_who_stands_as_asked_counts() -> None:
    people = standing(people=3)
    control = people.person(2)
    assert by_name(pose_scores(control, people))["pose_error"].value == pytest.approx(0)


def test_the_error_grows_when_the_clip_is_late() -> None:
    control = standing(30)
    walking = np.arange(30, dtype=np.float32)[:, None, None, None] * np.float32((2, 0))
    control = replace(control, points=control.points + walking)
    errors = []
    for late in (0, 1, 2, 4):
        shown = control.select([max(0, i - late) for i in range(30)])
        errors.append(by_name(pose_scores(control, shown))["pose_error"].value)
    assert errors == sorted(errors)
    assert errors[0] == 0


def test_a_trunk_that_is_not_seen_is_the_median_of_the_others() -> None:
    poses = standing()
    scores = poses.scores[:, 0].copy()
    scores[1, LEFT_HIP] = 0
    assert trunks(poses.points[:, 0], scores) == pytest.approx([TRUNK] * 6)
    scores[:, LEFT_HIP] = 0
    points = poses.points[:, 0].copy()
    points[:, RIGHT_SHOULDER], points[:, LEFT_SHOULDER] = (40, 25), (60, 25)
    points[2, LEFT_SHOULDER] = (45, 25)  # turned to the side
    assert trunks(points, scores) == pytest.approx([1.45 * 20] * 6)
    scores[:, RIGHT_SHOULDER] = 0
    with pytest.raises(PoseError, match="shoulders"):
        trunks(points, scores)


def test_poses_of_another_rate_are_taken_by_time() -> None:
    control = standing(30, fps=30)
    points = control.points + np.arange(30, dtype=np.float32)[:, None, None, None]
    taken = on_clip(replace(control, points=points), Fraction(10), 20)
    assert taken.frames == 10  # the clip goes on for a second in which nothing was asked for
    steps = taken.points[:, 0, NECK, 0] - taken.points[0, 0, NECK, 0]
    assert steps == pytest.approx(3 * np.arange(10))


def test_small_pictures_are_enlarged_for_the_estimator() -> None:
    assert enlarged(np.zeros((96, 144, 3), np.uint8)).shape == (768, 1152, 3)
    large = np.zeros((1000, 800, 3), np.uint8)
    assert enlarged(large) is large
