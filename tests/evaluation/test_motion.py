"""Measures from frame to frame, on motion that is known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from animate.evaluation import motion
from tests.evaluation.scenes import blurred, noisy, sliding, texture


def warping(frames: list[np.ndarray]) -> float:
    flow = motion.DenseFlow()
    errors = [flow.warping_error(a, b) for a, b in pairwise(frames)]
    return float(np.mean([e for e in errors if e is not None]))


def test_a_known_shift_is_warped_back_to_almost_nothing() -> None:
    frames = sliding(4, step=3)
    plain = np.mean([((a / 255.0 - b / 255.0) ** 2).mean() for a, b in pairwise(frames)])
    assert warping(frames) < plain / 50


def test_the_warping_error_grows_with_noise_and_is_zero_for_a_still_clip() -> None:
    frames = sliding(4)
    errors = [warping(noisy(frames, level)) for level in (0, 4, 8, 16)]
    assert errors == sorted(errors)
    assert warping([frames[0]] * 3) == pytest.approx(0, abs=1e-9)


def test_what_appears_from_behind_something_does_not_count() -> None:
    back, front = texture(160, 120, 1), texture(40, 120, 2)
    frames = []
    for left in (40, 46):
        frame = back.copy()
        frame[:, left : left + 40] = front
        frames.append(frame)
    visible = motion.DenseFlow().warping_error(*frames)
    everything = ((frames[0] / 255.0 - frames[1] / 255.0) ** 2).mean()
    assert visible is not None
    assert visible < everything / 4


def test_a_ramp_of_brightness_has_its_slope() -> None:
    values = np.array([[10.0 + 0.25 * i, 5.0] for i in range(20)])
    assert motion.slope(values) == pytest.approx([0.25, 0])
    assert motion.slope(values[:1]) == pytest.approx([0, 0])


def test_sharpness_falls_with_blur() -> None:
    picture = texture(96, 96)
    values = [motion.sharpness(blurred([picture], radius)[0]) for radius in (0, 1, 2, 4)]
    assert values == sorted(values, reverse=True)
    # A ramp of one level a pixel has a gradient of one.
    ramp = np.repeat(np.tile(np.arange(64, dtype=np.uint8), (64, 1))[..., None], 3, -1)
    assert motion.sharpness(ramp[:, 1:-1]) == pytest.approx(1, rel=0.05)


def test_black_frames_and_runs() -> None:
    black = np.zeros((40, 40, 3), np.uint8)
    assert motion.is_black(black)
    black[0, 0] = 255
    assert motion.is_black(black)
    black[:5] = 255
    assert not motion.is_black(black)
    assert motion.longest_run([True, False, True, True, False]) == 2
    assert motion.longest_run([]) == 0
