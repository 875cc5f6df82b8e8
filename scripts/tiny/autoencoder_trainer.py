"""Train the decoder of the autoencoder; its encoder is fitted first, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from animate.progress import Progress, Quiet
from animate.training.samples import pixels
from scripts.bundled.decoder import DecoderRun, train_decoder
from scripts.tiny.autoencoder import (
    PatchBasis,
    decoder_loss,
    fit_basis,
    make_autoencoder,
    write_encoder,
)
from scripts.tiny.data import Clips, ClipSet, render_set
from scripts.tiny.recipe import AutoencoderRecipe, TrainingConfig


def open_sets(config: TrainingConfig, recipes: Sequence[Any]) -> list[Clips]:
    """The clip sets of a stage, rendered if they are not yet."""
    cache = config.folder.parent / "clips"
    sets = [ClipSet(size=recipe.size, clips=recipe.clips) for recipe in recipes]
    for clip_set in sets:
        render_set(cache, clip_set)
    return [Clips(cache, clip_set) for clip_set in sets]


def train_autoencoder(config: TrainingConfig, progress: Progress | None = None) -> Any:
    """The trained autoencoder (evaluation mode, float32), taken up from its checkpoint if any."""
    torch.set_num_threads(config.threads)
    recipe = own_recipe(config)
    torch.manual_seed(config.seed)
    vae = make_autoencoder(recipe.latents, _three(recipe.blocks), recipe.layers)
    sets: list[Clips] = []

    def opened() -> list[Clips]:
        if not sets:
            sets.extend(open_sets(config, recipe.sets))
        return sets

    def fit() -> PatchBasis:
        rng = np.random.default_rng([config.seed, 10])
        basis = fit_basis(_images(opened(), recipe, rng), recipe.latents)
        write_encoder(vae, basis)
        return basis

    def losses(basis: PatchBasis, rng: Generator) -> tuple[Tensor, Tensor]:
        images, noise = _batch(opened(), recipe, rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.half):
            return decoder_loss(vae, images, basis, noise)

    run = DecoderRun(
        folder=config.folder,
        digest=config.autoencoder_digest(),
        seed=config.seed,
        cycles=recipe.cycles,
        rate=recipe.rate,
        checkpoint_every=config.checkpoint_every,
        fast=True,
    )
    train_decoder(run, vae, fit, losses, progress or Quiet())
    return vae.eval()


def own_recipe(config: TrainingConfig) -> AutoencoderRecipe:
    """The recipe's own autoencoder."""
    assert config.autoencoder is not None, "the recipe starts from a model's autoencoder"
    return config.autoencoder


def _three(blocks: tuple[int, ...]) -> tuple[int, int, int]:
    first, second, third = blocks
    return first, second, third


def _images(sets: list[Clips], recipe: AutoencoderRecipe, rng: Generator) -> Tensor:
    """Crops (N,3,c,c) that the encoder is fitted to."""
    crops = [_crop(sets, recipe, rng, 1)[0] for _ in range(recipe.basis_images)]
    return pixels(np.stack(crops))


def _batch(sets: list[Clips], recipe: AutoencoderRecipe, rng: Generator) -> tuple[Tensor, Tensor]:
    """Clips (B,F,3,c,c) and noise for their latents."""
    crops = np.stack([_crop(sets, recipe, rng, recipe.frames) for _ in range(recipe.batch)])
    side = recipe.crop // 4
    shape = (recipe.batch * recipe.frames, recipe.latents, side, side)
    return pixels(crops), torch.from_numpy(
        (recipe.noise * rng.standard_normal(shape)).astype(np.float32)
    )


def _crop(
    sets: list[Clips], recipe: AutoencoderRecipe, rng: Generator, frames: int
) -> NDArray[np.uint8]:
    """(F,c,c,3) from a random place of a random clip, mirrored half the time."""
    clips = sets[int(rng.integers(len(sets)))]
    start = int(rng.integers(clips.set.frames - frames + 1))
    images, _, _ = clips.take(int(rng.integers(len(clips))), start, frames)
    width, height = clips.set.size
    x = int(rng.integers(width - recipe.crop + 1))
    y = int(rng.integers(height - recipe.crop + 1))
    cut = images[1:, y : y + recipe.crop, x : x + recipe.crop]
    return cut[:, :, ::-1] if rng.uniform() < 0.5 else cut
