"""Measures against values known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from animate.evaluation import measures as metrics

FLAT = np.full((32, 32, 3), 100, np.uint8)
NOISY = np.clip(
    FLAT.astype(int) + np.random.default_rng(0).integers(-40, 40, FLAT.shape), 0, 255
).astype(np.uint8)


def test_psnr() -> None:
    assert metrics.psnr(FLAT, FLAT) == float("inf")
    assert metrics.psnr(FLAT, FLAT + 10) == pytest.approx(20 * np.log10(25.5))
    where = np.zeros((32, 32), bool)
    where[0, 0] = True
    changed = FLAT.copy()
    changed[0, 0] += 51
    assert metrics.psnr(FLAT, changed, where) == pytest.approx(20 * np.log10(5))
    assert np.isnan(metrics.psnr(FLAT, FLAT, ~(where | True)))


def test_ssim_is_one_for_equal_pictures_and_falls_with_noise() -> None:
    assert metrics.ssim(NOISY, NOISY) == pytest.approx(1)
    assert metrics.ssim(FLAT, NOISY) < 0.2
    # For flat pictures only the means' term is left.
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    assert metrics.ssim(FLAT, FLAT + 20) == pytest.approx(expected, rel=1e-6)


def test_masks() -> None:
    picture = FLAT.copy()
    picture[:8] += 60
    mask = metrics.figure_mask(picture, FLAT)
    assert mask[:8].all()
    assert not mask[8:].any()
    other = np.roll(mask, 4, 0)
    assert metrics.mask_iou(mask, other) == pytest.approx(4 / 12)
    assert metrics.mask_iou(mask & False, mask & False) == 1


def test_a_jump_at_a_border_is_a_seam() -> None:
    frames = np.stack([FLAT + level for level in (0, 2, 4, 14, 16, 18)]).astype(np.uint8)
    assert metrics.seam_score(frames, [3]) == pytest.approx(5)
    with pytest.raises(ValueError, match="borders"):
        metrics.seam_score(frames, [])
