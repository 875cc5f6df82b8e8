"""Pose retrieval: which true picture a generated one is nearest to."""

from __future__ import annotations

import cv2
import numpy as np

from animate.request.values import Size
from scripts.tiny import evaluation

SIZE = Size(48, 64)


def test_true_frames_find_themselves_and_noise_does_not_hide_them() -> None:
    take = evaluation.held_out(1, 6, [SIZE])[0]
    bank = evaluation.other_poses(evaluation.HELD_OUT, SIZE, 5)
    assert bank.shape == (5, 64, 48, 3)
    noise = np.random.default_rng(0).integers(-12, 13, take.frames.shape)
    noisy = np.clip(take.frames.astype(int) + noise, 0, 255).astype(np.uint8)
    assert evaluation.retrieved(noisy, take.frames, bank).all()


def test_wrong_poses_are_counted_wrong() -> None:
    take = evaluation.held_out(1, 6, [SIZE])[0]
    bank = evaluation.other_poses(evaluation.HELD_OUT, SIZE, 5)
    still = evaluation.retrieved(np.repeat(take.frames[2:3], 6, 0), take.frames, bank)
    assert still.tolist() == [False, False, True, False, False, False]
    elsewhere = evaluation.retrieved(np.repeat(bank[3:4], 6, 0), take.frames, bank)
    assert not elsewhere.any()


def test_the_other_poses_are_of_the_same_character_in_the_same_place() -> None:
    take = evaluation.held_out(1, 2, [SIZE])[0]
    bank = evaluation.other_poses(evaluation.HELD_OUT, SIZE, 6)
    background = take.background.astype(int)
    away = np.abs(bank.astype(int) - background).max(-1) <= 30
    assert away.mean() > 0.4  # the place is there
    assert (~away).any(axis=(1, 2)).all()  # and somebody in it
    other = evaluation.other_poses(evaluation.HELD_OUT + 1, SIZE, 1)
    assert np.abs(other[0].astype(int) - background).mean() > 5
    assert len({one.tobytes() for one in bank}) == 6


def test_windows_begin_and_end_at_borders() -> None:
    # Windows 0-7, 5-12 and 8-15.
    assert evaluation.window_borders(16, 8, 3) == [5, 8, 13]


def test_warped_references_lie_between_the_repeated_one_and_the_truth() -> None:
    takes = evaluation.held_out(6, 2, [SIZE])
    scores = {
        make.__name__: evaluation.mean_scores([evaluation.score(make(t), t) for t in takes])
        for make in (evaluation.repeated, evaluation.warped)
    }
    assert scores["warped"].psnr > scores["repeated"].psnr + 2
    assert scores["warped"].figure_psnr > scores["repeated"].figure_psnr + 2


def test_blurred_clips_have_less_than_the_truth_s_sharpness() -> None:
    take = evaluation.held_out(1, 2, [SIZE])[0]
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in take.frames])
    assert evaluation.sharpness_ratio(take.frames, take.frames) == 1
    assert 0.2 < evaluation.sharpness_ratio(blurred, take.frames) < 0.8
