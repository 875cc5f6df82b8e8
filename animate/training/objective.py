"""The loss, and the formulas that inference shares with it.

A network F sees `c_in(sigma) * (x + sigma * n)` and the timestep `ln(sigma) / 4`; the clean latents
are then `c_skip * noisy + c_out * F` (Karras et al., arXiv 2206.00364, with the v-prediction
constants of Stable Video Diffusion, arXiv 2311.15127). `scheduler_config` makes diffusers' Euler
scheduler use the same constants, so training and sampling cannot drift apart.

Shapes: B clips, F frames, C latent channels, h x w positions, H x W pixels, D embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor

from animate.generate.conditioning import embed_image
from animate.models.injection import ControlPort

SIGMA_DATA = 1.0
"""Deviation of clean latents: the autoencoder's are scaled to it."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveRecipe:
    """Noise levels, weights and constants of the loss."""

    sigma_mean: float = 0.7
    """Mean of the logarithm of sigma."""
    sigma_deviation: float = 1.6
    """Deviation of the logarithm of sigma."""
    dropout: float = 0.05
    """Chance that a clip is trained without its reference."""
    near_weight: float = 3.0
    """Weight of the loss near the skeleton; elsewhere 1. The mean is brought to 1."""
    pixel_weight: float = 0.0
    """0: all latents count alike; 1: each by what its error does to pixels; between: a power."""
    reference_noise: float = 0.02
    """Standard deviation of the noise on the reference before it is encoded."""
    fps: float = 6.0
    motion_bucket: float = 127.0


@dataclass(frozen=True, kw_only=True)
class Preconditioning:
    """The constants of one noise level each, broadcastable over (B,F,C,h,w)."""

    skip: Tensor
    out: Tensor
    input: Tensor
    timestep: Tensor
    """(B,)."""

    def denoised(self, noisy_BFCHW: Tensor, prediction_BFCHW: Tensor) -> Tensor:
        """Clean latents from what the network said about noisy ones."""
        return self.skip * noisy_BFCHW + self.out * prediction_BFCHW

    def target(self, noisy_BFCHW: Tensor, clean_BFCHW: Tensor) -> Tensor:
        """The prediction that gives the clean latents."""
        return (clean_BFCHW - self.skip * noisy_BFCHW) / self.out


def precondition(sigma_B: Tensor) -> Preconditioning:
    """Constants of the v-prediction for noise levels (B,)."""
    sigma = sigma_B.view(-1, 1, 1, 1, 1)
    total = (sigma**2 + SIGMA_DATA**2).sqrt()
    return Preconditioning(
        skip=(SIGMA_DATA / total) ** 2,
        out=-sigma * SIGMA_DATA / total,
        input=1 / total,
        timestep=sigma_B.log() / 4,
    )


def scheduler_config(sigma_min: float, sigma_max: float) -> dict[str, object]:
    """Configuration of diffusers' `EulerDiscreteScheduler` that samples what this objective
    trained: v-prediction, `ln(sigma)/4` as the timestep, Karras' spacing between two levels."""
    return {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": "v_prediction",
        "interpolation_type": "linear",
        "use_karras_sigmas": True,
        "sigma_min": sigma_min,
        "sigma_max": sigma_max,
        "timestep_spacing": "leading",
        "timestep_type": "continuous",
        "steps_offset": 1,
    }


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The random numbers of one training step."""

    sigma: Tensor
    """(B,) noise levels."""
    noise: Tensor
    """(B,F,C,h,w) standard normal."""
    keep: Tensor
    """(B,) 1 = with the reference, 0 = without."""
    reference_noise: Tensor
    """(B,3,H,W) standard normal, added to the reference before it is encoded."""

    def to(self, device: torch.device) -> Draws:
        """The same draws where the networks are."""
        return Draws(**{name: value.to(device) for name, value in vars(self).items()})


def draw(
    recipe: ObjectiveRecipe, latents: tuple[int, ...], pixels: tuple[int, ...], rng: Generator
) -> Draws:
    """Draws for latents of shape (B,F,C,h,w) and references (B,3,H,W)."""
    clips = latents[0]

    def normal(shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape, np.float32))

    sigma = torch.exp(recipe.sigma_mean + recipe.sigma_deviation * normal((clips,)))
    keep = torch.from_numpy((rng.random(clips) >= recipe.dropout).astype(np.float32))
    return Draws(sigma=sigma, noise=normal(latents), keep=keep, reference_noise=normal(pixels))


def drawn_near(control_BF3HW: Tensor, latent_size: tuple[int, int]) -> Tensor:
    """(B,F,1,h,w) whether a skeleton is drawn at or beside a position."""
    clips, frames = control_BF3HW.shape[:2]
    drawn = control_BF3HW.flatten(0, 1).amax(1, keepdim=True)
    drawn = F.max_pool2d(F.adaptive_max_pool2d(drawn, latent_size), 3, 1, 1)
    return (drawn > 0.1).unflatten(0, (clips, frames))


def near_skeleton(control_BF3HW: Tensor, latent_size: tuple[int, int], weight: float) -> Tensor:
    """Loss weights (B,F,1,h,w): `weight` around drawn skeletons, 1 elsewhere, brought to mean 1."""
    weights = 1 + (weight - 1) * drawn_near(control_BF3HW, latent_size).float()
    return weights / weights.mean((2, 3, 4), keepdim=True)


def weighted_loss(
    constants: Preconditioning,
    noisy_BFCHW: Tensor,
    clean_BFCHW: Tensor,
    prediction_BFCHW: Tensor,
    weights_BFCHW: Tensor,
) -> Tensor:
    """Losses (B,): squared error of the prediction, which is that of the clean latents weighted by
    `1 / c_out**2` (the paper's lambda)."""
    error = prediction_BFCHW.float() - constants.target(noisy_BFCHW, clean_BFCHW)
    return (error**2 * weights_BFCHW).mean((1, 2, 3, 4))


def predict(
    networks: Any,
    port: ControlPort,
    *,
    scaled_BFCHW: Tensor,
    timestep_B: Tensor,
    reference_B3HW: Tensor,
    image_latents_BFCHW: Tensor,
    control_BF3HW: Tensor,
    keep_B: Tensor,
    micro: tuple[float, float, float],
    feature_mean: Sequence[float],
    feature_std: Sequence[float],
    weight: float | Tensor | None = None,
) -> Tensor:
    """The UNet's prediction (B,F,C,h,w) as inference calls it; `keep` 0 drops the reference.

    The control stays at the port, since a backward pass may call blocks again.

    networks: `unet`, `controlnext` and `image_encoder` by name
    weight: of the control; None: the port's own
    image_latents: unscaled, as the UNet takes them; F may be 1
    """
    frames = scaled_BFCHW.shape[1]
    embedding = embed_image(
        reference_B3HW, networks["image_encoder"], feature_mean, feature_std
    ) * keep_B.view(-1, 1, 1)
    image = image_latents_BFCHW * keep_B.view(-1, 1, 1, 1, 1)
    control = networks["controlnext"](control_BF3HW, timestep_B)
    port.hold(control, None if weight is None else [weight])
    return networks["unet"](
        torch.cat([scaled_BFCHW, image.expand(-1, frames, -1, -1, -1)], dim=2),
        timestep_B,
        encoder_hidden_states=embedding,
        added_time_ids=torch.tensor([micro], device=keep_B.device).expand(len(keep_B), -1),
        return_dict=False,
    )[0]


def clip_losses(
    networks: Any,
    port: ControlPort,
    *,
    clean_BFCHW: Tensor,
    reference_B3HW: Tensor,
    image_latents_BFCHW: Tensor,
    control_BF3HW: Tensor,
    weights_BFCHW: Tensor,
    draws: Draws,
    micro: tuple[float, float, float],
    half: bool,
    feature_mean: Sequence[float],
    feature_std: Sequence[float],
    weight: float | Tensor | None = None,
) -> Tensor:
    """Losses (B,) of clips whose noise levels and noise were drawn: what every run minimises.

    clean: latents as inference steps them (times the autoencoder's scaling factor)
    image_latents: of the reference with its noise (F = 1), or of what each frame has in its place
    weights: of positions and perhaps latents (C may be 1), with the mean 1
    half: compute the networks in bfloat16 (autocast)
    weight: of the control; None: the port's own
    """
    constants = precondition(draws.sigma)
    noisy = clean_BFCHW + draws.sigma.view(-1, 1, 1, 1, 1) * draws.noise
    with torch.autocast(clean_BFCHW.device.type, torch.bfloat16, enabled=half):
        prediction = predict(
            networks,
            port,
            scaled_BFCHW=constants.input * noisy,
            timestep_B=constants.timestep,
            reference_B3HW=reference_B3HW,
            image_latents_BFCHW=image_latents_BFCHW,
            control_BF3HW=control_BF3HW,
            keep_B=draws.keep,
            micro=micro,
            feature_mean=feature_mean,
            feature_std=feature_std,
            weight=weight,
        )
    return weighted_loss(constants, noisy, clean_BFCHW, prediction, weights_BFCHW)
