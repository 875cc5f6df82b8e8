"""Cleaning: steadier, not later, not elsewhere, and honest about who is not there."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pose.clean import CleaningOptions, clean, fill_absence, without_lone_hands
from pose.errors import PoseError
from pose.flips import repair_flips
from pose.layout import LEFT_HAND, LEFT_WRIST, MIRROR, POINTS, RIGHT_HAND, SEEN
from pose.sequence import PoseSequence
from scripts.benchmarks._dancer import dancer
from scripts.benchmarks.pose_jitter import add_noise, distance, jitter, lag

RAW = CleaningOptions(smoothing=0)


def without(poses: PoseSequence, frames: slice, points: object = slice(None)) -> PoseSequence:
    """Unseen in these frames, with places that would be noticed."""
    scores, places = poses.scores.copy(), poses.points.copy()
    scores[frames, 0, points] = 0
    places[frames, 0, points] = 9999
    return replace(poses, points=places, scores=scores)


def test_smoothing_halves_jitter_without_lag_or_displacement() -> None:
    truth = dancer(150)
    noisy = add_noise(truth, seed=3)
    smooth = clean(noisy)
    everything = np.ones_like(noisy.scores, dtype=bool)
    assert jitter(smooth, everything) < 0.5 * jitter(noisy, everything)
    assert distance(smooth, noisy) < 3
    assert distance(smooth, truth) < 0.65 * distance(noisy, truth)
    assert abs(lag(smooth, truth)) < 0.03


def test_a_clip_played_backwards_is_cleaned_to_the_same_places() -> None:
    def backwards(poses: PoseSequence) -> PoseSequence:
        return replace(poses, points=poses.points[::-1], scores=poses.scores[::-1])

    noisy = without(add_noise(dancer(60), seed=5), slice(20, 26), [3, 4, 7])
    there, back = clean(noisy), backwards(clean(backwards(noisy)))
    np.testing.assert_allclose(back.points, there.points, atol=1e-3)
    np.testing.assert_allclose(back.scores, there.scores, atol=1e-6)


def test_the_lag_measure_sees_lag() -> None:
    truth = dancer(100)
    late = replace(truth, points=np.concatenate([truth.points[:1], truth.points[:-1]]))
    assert lag(late, truth) == pytest.approx(1, abs=0.05)
    assert lag(truth, late) == pytest.approx(-1, abs=0.05)


def test_more_smoothing_is_smoother() -> None:
    noisy = add_noise(dancer(60), seed=1)
    everything = np.ones_like(noisy.scores, dtype=bool)
    levels = [
        jitter(clean(noisy, CleaningOptions(smoothing=s)), everything) for s in (0, 0.03, 0.06, 0.2)
    ]
    assert levels == sorted(levels, reverse=True)
    assert levels[0] == jitter(noisy, everything)


def test_slow_motion_passes_unchanged() -> None:
    poses = dancer(40)
    time = poses.times[:, None, None, None].astype(np.float32)
    parabola = replace(poses, points=poses.points[:1] + 30 * time - 200 * time**2)
    np.testing.assert_allclose(clean(parabola).points, parabola.points, atol=0.2)


def test_doubtful_points_do_not_pull() -> None:
    poses = dancer(30)
    points, scores = poses.points.copy(), poses.scores.copy()
    points[15, 0, 4] += 300
    scores[15, 0, 4] = SEEN
    pulled = clean(replace(poses, points=points, scores=scores)).points[:, 0, 4]
    sure = clean(replace(poses, points=points)).points[:, 0, 4]
    truth = poses.points[:, 0, 4]
    others = [13, 14, 16, 17]
    assert np.abs(pulled - truth)[others].max() < 0.3 * np.abs(sure - truth)[others].max()


def test_short_gaps_are_bridged_between_sights() -> None:
    poses = dancer(40)
    gone = without(poses, slice(10, 15), [3, 4])
    filled = clean(gone, RAW)
    assert (filled.scores[10:15, 0, 4] == poses.scores[9, 0, 4]).all()
    start, stop = poses.points[9, 0, 4], poses.points[15, 0, 4]
    share = (np.arange(1, 6) / 6)[:, None]
    np.testing.assert_allclose(
        filled.points[10:15, 0, 4], (1 - share) * start + share * stop, atol=1e-2
    )
    np.testing.assert_array_equal(filled.points[:, 0, 5], poses.points[:, 0, 5])


def test_a_person_missed_for_a_moment_comes_back() -> None:
    assert clean(without(dancer(40), slice(10, 13))).present.all()


@pytest.mark.parametrize("options", [RAW, CleaningOptions()])
def test_longer_gaps_and_the_ends_stay_empty(options: CleaningOptions) -> None:
    gone = without(without(dancer(60), slice(20, 40)), slice(0, 2))
    gone = without(gone, slice(58, 60))
    cleaned = clean(gone, options)
    for frames in (slice(0, 2), slice(20, 40), slice(58, 60)):
        assert (cleaned.scores[frames] == 0).all()
    assert cleaned.present[2:20].all()
    # What was not seen does not reach what was.
    assert cleaned.points[cleaned.scores > 0].max() < 1100


def test_the_gap_limit_is_in_seconds() -> None:
    gone = without(dancer(40), slice(10, 13))
    assert not clean(gone, CleaningOptions(gap=2 / 30, smoothing=0)).present[10:13].any()
    assert clean(gone, CleaningOptions(gap=3 / 30, smoothing=0)).present.all()
    assert not clean(gone, CleaningOptions(gap=0, smoothing=0)).present[10:13].any()


def test_nothing_crosses_a_cut() -> None:
    one, other = dancer(20), dancer(20, energy=0)
    clip = replace(
        one,
        points=np.concatenate([one.points, other.points + 200]),
        scores=np.concatenate([one.scores, other.scores]),
        times=np.arange(40) / 30,
        cuts=(20,),
    )
    clip = without(clip, slice(19, 21))
    cleaned = clean(clip)
    assert not cleaned.present[19:21].any()
    apart = [clean(clip.select(slice(*shot))).points for shot in clip.shots]
    np.testing.assert_allclose(cleaned.points, np.concatenate(apart), atol=1e-3)


def test_long_clips_are_smoothed_in_blocks_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = add_noise(dancer(100), seed=4)
    whole = clean(noisy)
    monkeypatch.setattr("pose.clean._BLOCK", 7)
    blocks = clean(noisy)
    np.testing.assert_allclose(blocks.points, whole.points, atol=1e-4)
    np.testing.assert_allclose(blocks.scores, whole.scores, atol=1e-6)


def test_frames_repeated_at_one_time_are_no_trouble() -> None:
    poses = dancer(30).select([0] * 20 + [1, 2, 3])
    np.testing.assert_allclose(clean(poses).points[:20], poses.points[:20], atol=0.5)


def test_irregular_times_are_respected() -> None:
    poses = dancer(40)
    times = np.sort(np.random.default_rng(0).uniform(0, 1.3, 40))
    line = (100 + 300 * times)[:, None, None, None] * np.ones((1, 1, POINTS, 2))
    uneven = replace(poses, points=line.astype(np.float32), times=times)
    np.testing.assert_allclose(clean(uneven).points, uneven.points, atol=0.05)


@pytest.mark.parametrize(
    "members", [[9, 10, 12, 13, *range(18, 24)], [3, 4, 6, 7], list(range(92, 134))]
)
@pytest.mark.parametrize("length", [1, 6])
def test_flipped_limbs_are_put_right(members: list[int], length: int) -> None:
    poses = dancer(50)
    points = poses.points.copy()
    mirrored = [MIRROR[i] for i in members]
    points[20 : 20 + length, 0, members] = poses.points[20 : 20 + length, 0, mirrored]
    repaired, _ = repair_flips(points[:, 0].astype(float), poses.scores[:, 0].astype(float))
    np.testing.assert_array_equal(repaired, poses.points[:, 0])
    kept = clean(replace(poses, points=points), CleaningOptions(smoothing=0, flips=False))
    np.testing.assert_array_equal(kept.points, points)


def test_a_person_who_turns_round_or_crosses_limbs_is_left_alone() -> None:
    poses = dancer(90)
    centre = poses.points[:, :, 1:2]
    turn = np.cos(2 * np.pi * poses.times)[:, None, None]
    points = poses.points.copy()
    points[..., 0] = centre[..., 0] + turn * (points[..., 0] - centre[..., 0])
    turning = replace(add_noise(replace(poses, points=points), seed=2), cuts=())
    np.testing.assert_array_equal(clean(turning, RAW).points, turning.points)


@settings(max_examples=15, deadline=None)
@given(
    frames=st.integers(1, 9),
    people=st.integers(0, 2),
    seed=st.integers(0, 999),
    seen=st.floats(0, 1),
)
def test_any_sequence_can_be_cleaned(frames: int, people: int, seed: int, seen: float) -> None:
    generator = np.random.default_rng(seed)
    shape = (frames, people, POINTS)
    poses = PoseSequence(
        points=generator.normal(0, 1e4, (*shape, 2)),
        scores=generator.random(shape) * (generator.random(shape) < seen),
        canvas=(64, 64),
        fps=dancer(1).fps,
        times=np.sort(generator.choice([0.0, 0.1, 0.2], frames)),
        cuts=tuple(range(2, frames, 4)),
    )
    assert clean(poses).frames == frames
    cleaned = clean(poses, CleaningOptions(flips=False))
    low = (poses.scores > 0) & (poses.scores < SEEN) & (cleaned.scores < SEEN)
    np.testing.assert_array_equal(cleaned.points[low], poses.points[low])


@pytest.mark.parametrize("options", [{"gap": -1}, {"smoothing": float("nan")}])
def test_wrong_options_are_named(options: dict[str, float]) -> None:
    with pytest.raises(PoseError, match="0 or more seconds"):
        CleaningOptions(**options)  # type: ignore[arg-type]


def lonely(present: list[bool], fps: float = 20.0) -> PoseSequence:
    """One person who walks right by a pixel a frame, seen where `present`."""
    count = len(present)
    points = np.zeros((count, 1, POINTS, 2), np.float32)
    points[..., 0] = np.arange(count)[:, None, None]
    scores = np.repeat(np.array(present, np.float32)[:, None, None], POINTS, axis=2)
    return PoseSequence(
        points=points,
        scores=scores,
        canvas=(100, 100),
        fps=Fraction(20),
        times=np.arange(count) / fps,
    )


def test_leading_frames_hold_the_first_pose_and_long_gaps_fade() -> None:
    present = [False] * 4 + [True] * 3 + [False] * 20 + [True] * 2 + [False] * 10
    filled = fill_absence(lonely(present))
    x, score = filled.points[:, 0, 0, 0], filled.scores[:, 0, 0]
    assert x[:7].tolist() == [4, 4, 4, 4, 4, 5, 6]
    assert score[:7].tolist() == [1] * 7
    gap = score[6:28]
    assert (np.diff(gap[:8]) < 0).all()
    assert (np.diff(gap[-8:]) > 0).all()
    assert gap[8:-8].max() == 0
    assert set(x[7:17]) == {6}
    assert set(x[18:27]) == {27}
    assert score[29:].tolist() == pytest.approx([1 - k / 7 for k in range(1, 8)] + [0] * 3)


def test_absence_can_be_held_or_left_empty() -> None:
    present = [False] * 2 + [True] + [False] * 20 + [True] + [False] * 3
    held = fill_absence(lonely(present), "hold")
    assert held.present.all()
    assert held.points[:, 0, 0, 0].tolist() == [2] * 23 + [23] * 4
    assert fill_absence(lonely(present), "empty").digest == lonely(present).digest
    nobody = lonely([False] * 3)
    assert fill_absence(nobody).digest == nobody.digest


def test_absence_is_filled_within_shots() -> None:
    cut = replace(lonely([True] * 3 + [False] * 3 + [True] * 2), cuts=(3,))
    assert fill_absence(cut, "hold").points[:, 0, 0, 0].tolist() == [0, 1, 2, 6, 6, 6, 6, 7]


@pytest.mark.parametrize("absence", ["fade", "hold"])
def test_black_frames_before_a_cut_hold_the_first_pose(absence: Literal["fade", "hold"]) -> None:
    led = replace(lonely([False] * 4 + [True] * 3), cuts=(1, 4))
    filled = fill_absence(led, absence)
    assert filled.present.all()
    assert filled.points[:, 0, 0, 0].tolist() == [4, 4, 4, 4, 4, 5, 6]


def test_a_shot_without_anybody_goes_on_from_the_shot_before() -> None:
    title = replace(lonely([True] * 3 + [False] * 20 + [True] * 2), cuts=(3, 22))
    held = fill_absence(title, "hold")
    assert held.points[:, 0, 0, 0].tolist() == [0, 1, *[2] * 20, 23, 23, 24]
    fading = fill_absence(title).scores[:, 0, 0]
    assert (np.diff(fading[2:9]) < 0).all()
    assert fading[10:22].max() == 0
    assert fading[22] == 1, "the next shot begins with its first pose"


def test_a_hand_whose_arm_has_left_the_picture_is_not_alone() -> None:
    poses = lonely([True] * 2)
    scores = poses.scores.copy()
    scores[1, 0, LEFT_WRIST] = 0.2
    cleaned = without_lone_hands(replace(poses, scores=scores))
    assert cleaned.scores[0].min() == 1
    assert cleaned.scores[1, 0, LEFT_HAND].max() == 0
    assert cleaned.scores[1, 0, RIGHT_HAND].min() == 1
