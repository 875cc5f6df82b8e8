"""The autoencoder: a patch basis written into a stock encoder, and a decoder that is trained."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from animate.progress import Progress
from animate.training.checkpoints import load_checkpoint, save_checkpoint
from animate.training.samples import pixels
from animate.training.speed import channels_last
from scripts.tiny.autoencoder import PatchBasis, fit_basis, write_encoder
from scripts.tiny_still.data import People
from scripts.tiny_still.networks import make_autoencoder
from scripts.tiny_still.recipe import StillRecipe

STATE = "autoencoder.pt"


@dataclass(frozen=True, kw_only=True)
class Autoencoder:
    """The stock autoencoder, and its encoder as the one convolution that it is."""

    vae: Any
    basis: PatchBasis


def train_autoencoder(recipe: StillRecipe, people: People, progress: Progress) -> Autoencoder:
    """The recipe's autoencoder, trained from its checkpoint where there is one."""
    torch.manual_seed(recipe.seed)
    vae = make_autoencoder(recipe)
    state = load_checkpoint(recipe.folder / STATE, recipe.autoencoder_digest())
    if state is None:
        sizes = recipe.autoencoder
        sample = people.batch(sizes.basis_pictures, np.random.default_rng([recipe.seed, 10]))
        basis = fit_basis(pixels(sample.pictures), sizes.latents)
        write_encoder(vae, basis)
        _pass_through(vae.post_quant_conv)
        state = {"step": 0}
    else:
        vae.load_state_dict(state["vae"])
        basis = PatchBasis(**state["basis"])
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    if state["step"] < recipe.autoencoder.steps:
        _train(recipe, vae, basis, people, state, progress)
    return Autoencoder(vae=vae.eval().requires_grad_(False), basis=basis)


@torch.no_grad()
def _pass_through(conv: Any) -> None:
    conv.weight.copy_(torch.eye(len(conv.weight))[..., None, None])
    conv.bias.zero_()


def _train(
    recipe: StillRecipe, vae: Any, basis: PatchBasis, people: People, state: dict[str, Any],
    progress: Progress,
) -> None:  # fmt: skip
    sizes = recipe.autoencoder
    channels_last(vae)
    parameters = list(vae.decoder.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=sizes.rate, betas=(0.9, 0.98), fused=True)
    if "optimiser" in state:
        optimiser.load_state_dict(state["optimiser"])
    began, recent, first = time.monotonic(), 0.0, state["step"]
    with progress.stage("autoencoder", sizes.steps - first) as stage:
        for step in range(first, sizes.steps):
            for group in optimiser.param_groups:
                group["lr"] = sizes.rate * _share(step, sizes.steps)
            rng = np.random.default_rng([recipe.seed, 11, step])
            images = pixels(people.batch(sizes.batch, rng).pictures)
            latents = basis.encode(images)
            noise = sizes.noise * rng.standard_normal(tuple(latents.shape))
            latents = latents + torch.from_numpy(noise.astype(np.float32))
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                difference = vae.decode(latents).sample.float() - images
            squared = difference.pow(2).mean()
            loss = squared + 0.15 * _edges(difference) + 0.05 * difference.abs().mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            recent = squared.item() if not recent else 0.95 * recent + 0.05 * squared.item()
            stage.advance()
            if (step + 1) % recipe.checkpoint_every == 0 or step + 1 == sizes.steps:
                _save(recipe, vae, basis, optimiser, step + 1)
                pace = (time.monotonic() - began) / (step + 1 - first)
                decibel = 10 * math.log10(4 / recent)
                progress.note(f"autoencoder {step + 1}: {decibel:.2f} dB, {pace:.2f} s a step")


def _share(step: int, steps: int) -> float:
    """Share of the highest rate: a short rise, then a cosine."""
    warm = max(steps // 20, 1)
    return min((step + 1) / warm, 1) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _edges(difference: Tensor) -> Tensor:
    """Mean absolute error of the picture's slopes: keeps edges sharp."""
    across = (difference[..., 1:] - difference[..., :-1]).abs().mean()
    down = (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()
    return across + down


def _save(recipe: StillRecipe, vae: Any, basis: PatchBasis, optimiser: Any, step: int) -> None:
    state = {
        "digest": recipe.autoencoder_digest(),
        "step": step,
        "vae": vae.state_dict(),
        "basis": {"components": basis.components, "mean": basis.mean, "gain": basis.gain},
        "optimiser": optimiser.state_dict(),
    }
    save_checkpoint(recipe.folder / STATE, state)
