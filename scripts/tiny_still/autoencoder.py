"""The autoencoder: a patch basis written into a stock encoder, and a decoder that is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from animate.progress import Progress
from animate.training.samples import pixels
from scripts.bundled.decoder import DecoderRun, train_decoder
from scripts.tiny.autoencoder import PatchBasis, fit_basis, picture_loss, write_encoder
from scripts.tiny_still.data import People
from scripts.tiny_still.networks import make_autoencoder
from scripts.tiny_still.recipe import StillRecipe


@dataclass(frozen=True, kw_only=True)
class Autoencoder:
    """The stock autoencoder, and its encoder as the one convolution that it is."""

    vae: Any
    basis: PatchBasis


def train_autoencoder(recipe: StillRecipe, people: People, progress: Progress) -> Autoencoder:
    """The recipe's autoencoder, trained from its checkpoint where there is one."""
    torch.manual_seed(recipe.seed)
    vae, sizes = make_autoencoder(recipe), recipe.autoencoder

    def fit() -> PatchBasis:
        sample = people.batch(sizes.basis_pictures, np.random.default_rng([recipe.seed, 10]))
        basis = fit_basis(pixels(sample.pictures), sizes.latents)
        write_encoder(vae, basis)
        _pass_through(vae.post_quant_conv)
        return basis

    def losses(basis: PatchBasis, rng: Generator) -> tuple[Tensor, Tensor]:
        images = pixels(people.batch(sizes.batch, rng).pictures)
        latents = basis.encode(images)
        noise = sizes.noise * rng.standard_normal(tuple(latents.shape))
        latents = latents + torch.from_numpy(noise.astype(np.float32))
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.half):
            difference = vae.decode(latents).sample.float() - images
        return picture_loss(difference)

    run = DecoderRun(
        folder=recipe.folder,
        digest=recipe.autoencoder_digest(),
        seed=recipe.seed,
        cycles=(sizes.steps,),
        rate=sizes.rate,
        checkpoint_every=recipe.checkpoint_every,
    )
    basis = train_decoder(run, vae, fit, losses, progress)
    return Autoencoder(vae=vae.eval().requires_grad_(False), basis=basis)


@torch.no_grad()
def _pass_through(conv: Any) -> None:
    conv.weight.copy_(torch.eye(len(conv.weight))[..., None, None])
    conv.bias.zero_()
