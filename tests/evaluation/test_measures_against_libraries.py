"""Measures of pictures give the figures of the libraries that papers use, to 1e-4."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from pytorch_msssim import ms_ssim, ssim
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from animate.evaluation import measures
from tests.evaluation.scenes import blurred, noisy, texture

TRUTH = texture(231, 277)
CHANGED = {
    "noise": noisy([TRUTH], 20)[0],
    "blur": blurred([TRUTH], 3)[0],
    "shift": np.roll(TRUTH, 5, 1),
    "brightness": np.clip(TRUTH.astype(int) + 25, 0, 255).astype(np.uint8),
}


def tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].double()


@pytest.mark.parametrize("change", CHANGED)
def test_psnr_is_scikit_images(change: str) -> None:
    expected = peak_signal_noise_ratio(TRUTH, CHANGED[change])
    assert measures.psnr(CHANGED[change], TRUTH) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("change", CHANGED)
def test_ssim_is_that_of_wang_in_two_libraries(change: str) -> None:
    ours = measures.ssim(CHANGED[change], TRUTH)
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    assert ours == pytest.approx(
        structural_similarity(CHANGED[change], TRUTH, channel_axis=2, **wang), abs=1e-9
    )
    theirs = ssim(tensor(CHANGED[change]), tensor(TRUTH), data_range=255)
    assert ours == pytest.approx(float(theirs), abs=1e-4)


@pytest.mark.parametrize("change", CHANGED)
def test_grey_ssim_is_scikit_images_default(change: str) -> None:
    grey = [cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in (CHANGED[change], TRUTH)]
    expected = structural_similarity(*grey)
    assert measures.ssim_grey(CHANGED[change], TRUTH) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("change", CHANGED)
@pytest.mark.parametrize("size", [(231, 277), (256, 192), (161, 175)])
def test_ms_ssim_is_pytorch_msssims(change: str, size: tuple[int, int]) -> None:
    first, second = (cv2.resize(p, size) for p in (CHANGED[change], TRUTH))
    expected = float(ms_ssim(tensor(first), tensor(second), data_range=255))
    assert measures.ms_ssim(first, second) == pytest.approx(expected, abs=1e-4)


def test_ms_ssim_refuses_pictures_whose_last_scale_holds_no_window() -> None:
    with pytest.raises(ValueError, match="161"):
        measures.ms_ssim(TRUTH[:160], TRUTH[:160])


def test_psnr_in_8_bits_overflows_as_numpy_does() -> None:
    picture, truth = CHANGED["noise"], TRUTH
    with np.errstate(over="ignore"):
        mean = np.mean((picture - truth) ** 2)
    expected = 20 * np.log10(255 / np.sqrt(mean))
    assert measures.psnr_uint8(picture, truth) == pytest.approx(expected)
    assert measures.psnr_uint8(picture, truth) > measures.psnr(picture, truth)
    assert measures.psnr_uint8(truth, truth) == 100


@pytest.mark.parametrize("name", ["ssim", "ms_ssim", "ssim_grey", "psnr", "l1"])
@pytest.mark.parametrize("harm", ["noise", "blur", "shift"])
def test_more_harm_is_a_worse_figure(name: str, harm: str) -> None:
    grades = {
        "noise": [noisy([TRUTH], level)[0] for level in (2, 6, 18)],
        "blur": [blurred([TRUTH], radius)[0] for radius in (1, 2, 4)],
        "shift": [np.roll(TRUTH, pixels, 1) for pixels in (1, 3, 6)],
    }[harm]
    values = [getattr(measures, name)(picture, TRUTH) for picture in grades]
    assert values == sorted(values, reverse=name != "l1")
