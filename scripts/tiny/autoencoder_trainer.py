"""Train the decoder of the autoencoder; its encoder is fitted first, in closed form."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from animate.errors import TrainingError
from animate.progress import Progress, Quiet
from animate.training.checkpoints import load_checkpoint, save_checkpoint
from animate.training.samples import pixels
from animate.training.speed import channels_last, fast_on_cpu
from scripts.tiny.autoencoder import (
    PatchBasis,
    decoder_loss,
    fit_basis,
    make_autoencoder,
    trained_parameters,
    write_encoder,
)
from scripts.tiny.data import Clips, ClipSet, render_set
from scripts.tiny.recipe import AutoencoderRecipe, TrainingConfig

STATE = "autoencoder.pt"


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
    path = config.folder / STATE
    torch.manual_seed(config.seed)
    vae = make_autoencoder(recipe.latents, _three(recipe.blocks), recipe.layers)
    state = load_checkpoint(path, config.autoencoder_digest())
    if state is None:
        sets = open_sets(config, recipe.sets)
        rng = np.random.default_rng([config.seed, 10])
        basis = fit_basis(_images(sets, recipe, rng), recipe.latents)
        write_encoder(vae, basis)
        state = {"step": 0}
    else:
        vae.load_state_dict(state["vae"])
        basis = PatchBasis(**state["basis"])
    vae.encoder.requires_grad_(False)
    if state["step"] < sum(recipe.cycles):
        sets = open_sets(config, recipe.sets)
        _train_decoder(config, vae, basis, sets, state, progress or Quiet())
    return vae.eval()


def own_recipe(config: TrainingConfig) -> AutoencoderRecipe:
    """The recipe's own autoencoder."""
    assert config.autoencoder is not None, "the recipe starts from a model's autoencoder"
    return config.autoencoder


def _three(blocks: tuple[int, ...]) -> tuple[int, int, int]:
    first, second, third = blocks
    return first, second, third


def _train_decoder(
    config: TrainingConfig, vae: Any, basis: PatchBasis, sets: list[Clips],
    state: dict[str, Any], progress: Progress,
) -> None:  # fmt: skip
    recipe = own_recipe(config)
    steps = sum(recipe.cycles)
    channels_last(vae)
    parameters = trained_parameters(vae)
    optimiser = torch.optim.AdamW(parameters, lr=recipe.rate, betas=(0.9, 0.98), fused=True)
    if "optimiser" in state:
        optimiser.load_state_dict(state["optimiser"])
    began, recent = time.monotonic(), 0.0
    with fast_on_cpu(vae), progress.stage("autoencoder", steps - state["step"]) as stage:
        for step in range(state["step"], steps):
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate * _schedule(step, recipe.cycles)
            rng = np.random.default_rng([config.seed, 11, step])
            images, noise = _batch(sets, recipe, rng)
            with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
                loss, squared = decoder_loss(vae, images, basis, noise)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            recent = squared.item() if not recent else 0.95 * recent + 0.05 * squared.item()
            stage.advance()
            if (step + 1) % config.checkpoint_every == 0 or step + 1 == steps:
                _save(config, vae, basis, optimiser, step + 1)
                pace = (time.monotonic() - began) / (step + 1 - state["step"])
                decibel = 10 * math.log10(4 / recent)
                progress.note(f"autoencoder {step + 1}: {decibel:.2f} dB, {pace:.2f} s a step")


def _schedule(step: int, cycles: Sequence[int]) -> float:
    """Share of the highest rate: in each cycle a short rise, then a cosine."""
    for steps in cycles:
        if step < steps:
            break
        step -= steps
    warm = max(steps // 20, 1)
    return min((step + 1) / warm, 1) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _save(config: TrainingConfig, vae: Any, basis: PatchBasis, optimiser: Any, step: int) -> None:
    state = {
        "digest": config.autoencoder_digest(),
        "step": step,
        "vae": vae.state_dict(),
        "basis": {"components": basis.components, "mean": basis.mean, "gain": basis.gain},
        "optimiser": optimiser.state_dict(),
    }
    save_checkpoint(config.folder / STATE, state)


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


def fitted_encoder(config: TrainingConfig) -> PatchBasis:
    """The trained autoencoder's encoder as the one convolution that it is: the same latents to
    rounding, hundreds of times faster. `train_autoencoder` must have run."""
    state = load_checkpoint(config.folder / STATE, config.autoencoder_digest())
    if state is None:
        raise TrainingError(f"{config.folder / STATE} is not there: train the autoencoder first")
    return PatchBasis(**state["basis"])


def autoencoder_file(config: TrainingConfig) -> Path:
    """Path of the autoencoder's checkpoint."""
    return config.folder / STATE
