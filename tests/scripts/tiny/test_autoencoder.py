"""The stock encoder computes the closed form."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder

from animate.errors import TrainingError
from scripts.tiny.autoencoder import fit_basis, make_autoencoder, read_basis, write_encoder


def pictures(seed: int = 0) -> torch.Tensor:
    """(4,3,32,48) with structure at several scales."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(4, 3, 32, 48)
    for cells in (2, 4, 8, 16):
        grid = torch.rand(4, 3, cells, cells, generator=generator) - 0.5
        total += torch.nn.functional.interpolate(grid, size=(32, 48), mode="bilinear") / cells**0.5
    return total.clamp(-1, 1)


@pytest.mark.parametrize("latents", [6, 12])
def test_the_stock_encoder_equals_the_basis(latents: int) -> None:
    torch.manual_seed(0)
    vae = make_autoencoder(latents, (32, 32, 64))
    basis = fit_basis(pictures(), latents)
    write_encoder(vae, basis)
    unseen = pictures(1)
    with torch.no_grad():
        mode = vae.encode(unseen).latent_dist.mode()
    expected = basis.encode(unseen)
    assert mode.shape == (4, latents, 8, 12)
    torch.testing.assert_close(mode, expected, atol=3e-3, rtol=3e-3)


def test_latents_of_what_was_fitted_have_unit_variance() -> None:
    basis = fit_basis(pictures(), 8)
    assert basis.encode(pictures()).std() == pytest.approx(1, abs=0.01)


def test_components_are_orthonormal_and_the_strongest_come_first() -> None:
    basis = fit_basis(pictures(), 8)
    gram = basis.components.T @ basis.components
    torch.testing.assert_close(gram, torch.eye(8), atol=1e-4, rtol=0)
    assert (basis.gain[1:] >= basis.gain[:-1] - 1e-6).all()


def test_too_many_latents_are_refused() -> None:
    vae = make_autoencoder(4, (32, 32, 64))
    with pytest.raises(TrainingError, match="do not fit"):
        write_encoder(vae, fit_basis(pictures(), 20))


def test_pixel_weights_count_latents_as_pixels_do() -> None:
    basis = fit_basis(pictures(), 8)
    error = torch.randn(500, 8, generator=torch.Generator().manual_seed(0))
    of_pixels = ((error / basis.gain) @ basis.components.T).pow(2).mean(0)
    weighted = error.pow(2) * basis.pixel_weights(1.0).view(1, -1)
    ratio = of_pixels.sum() / weighted.mean(0).sum()
    for latent in range(8):
        alone = torch.zeros(500, 8)
        alone[:, latent] = error[:, latent]
        pixels = ((alone / basis.gain) @ basis.components.T).pow(2).mean(0).sum()
        latents = (alone.pow(2) * basis.pixel_weights(1.0).view(1, -1)).mean(0).sum()
        torch.testing.assert_close(pixels, ratio * latents, rtol=1e-4, atol=1e-7)
    assert torch.equal(basis.pixel_weights(0.0), torch.ones(8, 1, 1))
    assert basis.pixel_weights(0.5).mean().item() == pytest.approx(1)


def test_the_basis_is_read_back_from_the_encoder() -> None:
    vae = make_autoencoder(12, (32, 32, 64))
    basis = fit_basis(pictures(), 12)
    write_encoder(vae, basis)
    read = read_basis(vae)
    torch.testing.assert_close(read.encode(pictures(1)), basis.encode(pictures(1)))
    torch.testing.assert_close(read.gain, basis.gain)
    with pytest.raises(TrainingError, match="no patch basis"):
        read_basis(AutoencoderKLTemporalDecoder())
