"""Frames between frames: right in time, near the truth, never across a cut."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animate.evaluation.measures import psnr
from animate.finish.interpolation import Between, Tempo, interpolated, tempo_to


def scene(shift: float, seed: int = 0) -> np.ndarray:
    """(96,96,3): a textured disc, `shift` pixels to the right, on a textured ground."""
    rng = np.random.default_rng(seed)
    ground = cv2.GaussianBlur(rng.integers(0, 255, (96, 96, 3)).astype(np.float32), (9, 9), 3)
    disc = cv2.GaussianBlur(rng.integers(0, 255, (96, 96, 3)).astype(np.float32), (5, 5), 1.5)
    move = np.array([[1, 0, shift], [0, 1, 0]], np.float32)
    mask = np.zeros((96, 96), np.float32)
    cv2.circle(mask, (36, 48), 20, 1.0, -1, cv2.LINE_AA)
    mask, disc = (cv2.warpAffine(x, move, (96, 96)) for x in (mask, disc + 60))
    return (ground + mask[..., None] * (disc - ground)).clip(0, 255).astype(np.uint8)


def test_a_frame_between_is_nearer_to_the_truth_than_holding_or_mixing() -> None:
    first, truth, second = scene(0), scene(4), scene(8)
    made = Between(first, second).at(0.5)
    mixed = ((first.astype(int) + second + 1) // 2).astype(np.uint8)
    assert psnr(made, truth) > psnr(mixed, truth) + 4
    assert psnr(made, truth) > psnr(first, truth) + 4


def test_motion_of_enlarged_frames_is_found_at_the_size_before_that() -> None:
    large = [
        cv2.resize(scene(shift), (480, 576), interpolation=cv2.INTER_LANCZOS4)
        for shift in (0, 4, 8)
    ]
    first, truth, second = large
    made = Between(first, second, enlarged=5.0).at(0.5)
    assert made.shape == truth.shape
    assert psnr(made, truth) > psnr(Between(first, second).at(0.5), truth) + 0.5
    tempo = Tempo(step=Fraction(1, 2), count=3, fps=Fraction(2))
    frames = list(interpolated([first, second], tempo, enlarged=5.0))
    assert np.array_equal(frames[1], made)
    assert np.array_equal(frames[2], second)


def test_thirds_lie_where_they_should() -> None:
    between = Between(scene(0), scene(9))
    for share, shift in ((1 / 3, 3), (2 / 3, 6)):
        made = between.at(share)
        near = {at: psnr(made, scene(at)) for at in (0, 3, 6, 9)}
        assert max(near, key=lambda at: near[at]) == shift


def test_a_fast_hand_is_there_once() -> None:
    """A bright spot that the flow cannot follow: no half-transparent copy of it is left."""
    frames = []
    for x in (20, 76):
        frame = scene(0)
        cv2.circle(frame, (x, 20), 6, (255, 255, 255), -1, cv2.LINE_AA)
        frames.append(frame)
    ground, between = scene(0).astype(int), Between(*frames)
    assert not between.jump
    for share in (0.25, 0.4, 0.6, 0.75):
        added = (between.at(share).astype(int) - ground).mean(2)[10:31]
        spots = [added[:, x - 6 : x + 7].clip(0).mean() for x in (20, 76)]
        near, far = spots if share < 0.5 else spots[::-1]
        assert near > 2 * far


def test_what_does_not_move_stays() -> None:
    still = scene(0)
    assert np.array_equal(Between(still, still.copy()).at(0.3), still)


def test_two_shots_are_not_mixed() -> None:
    first, second = scene(0), scene(0, seed=5)
    between = Between(first, second)
    assert between.jump
    assert np.array_equal(between.at(0.4), first)
    assert np.array_equal(between.at(0.5), second)
    assert not Between(scene(0), scene(8)).jump


def test_given_frames_come_through_and_a_cut_is_kept() -> None:
    given_frames = [scene(0), scene(6), scene(40), scene(46)]
    tempo = Tempo(step=Fraction(1, 2), count=8, fps=Fraction(30))
    made = list(interpolated(iter(given_frames), tempo, cuts={2}))
    assert len(made) == 8
    for number, frame in enumerate(given_frames):
        assert np.array_equal(made[2 * number], frame)
    assert np.array_equal(made[3], given_frames[2])  # the cut: nothing in between
    assert np.array_equal(made[7], given_frames[3])  # the end is held
    assert not np.array_equal(made[1], given_frames[0])


def test_two_frames_are_held_at_a_time() -> None:
    asked = 0

    def arriving() -> Iterator[np.ndarray]:
        nonlocal asked
        for number in range(50):
            asked += 1
            yield np.full((32, 32, 3), number, np.uint8)

    tempo = Tempo(step=Fraction(1, 3), count=150, fps=Fraction(30))
    for number, _ in enumerate(interpolated(arriving(), tempo)):
        assert asked <= number // 3 + 2
    assert asked == 50


@given(
    st.integers(1, 200),
    st.fractions(Fraction(1), Fraction(60), max_denominator=1001),
    st.integers(1, 8),
)
def test_time_is_exact(frames: int, rate: Fraction, stride: int) -> None:
    whole = frames * stride
    tempo = tempo_to(rate, frames=frames, rate=rate / stride, most=whole)
    assert tempo.count == whole - stride + 1  # the last frame is there once
    assert tempo.position(tempo.count - 1) == (frames - 1, 0)
    assert tempo.fps == rate
    for number in range(min(tempo.count, 20)):
        before, share = tempo.position(number)
        assert (before + share) / (rate / stride) == number / rate


def test_a_rate_that_is_no_multiple() -> None:
    tempo = tempo_to(Fraction(29), frames=10, rate=Fraction(12), most=1000)
    assert tempo.count == 22  # 9/12 s and a frame
    assert tempo.position(5) == (2, Fraction(2, 29))
    assert tempo_to(Fraction(29), frames=10, rate=Fraction(12), most=20).count == 20
    with pytest.raises(ValueError, match="more than"):
        tempo_to(Fraction(10), frames=3, rate=Fraction(12), most=9)
