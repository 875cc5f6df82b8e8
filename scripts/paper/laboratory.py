"""A laboratory for training runs of minutes: small networks, procedural clips, fixed validation.

Everything that decides a run stands in `Setting`, so its digest names the records. Latents are the
closed-form patch basis of the bundled model's recipe: no autoencoder is trained. The numbers of a
step come from the run's seed and the step alone, so two ways of control with one seed see the same
clips, noise levels and noise.

Shape letters: B clips, F frames, C latent channels, H x W pixels, h x w latent positions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from animate.errors import TrainingError
from animate.generate.conditioning import embed_image
from animate.models.config import ControlNeXtConfig
from animate.training import objective
from animate.training.speed import channels_last, fast_on_cpu
from scripts.paper.methods import Condition, Inputs, Method
from scripts.tiny.autoencoder import PatchBasis, fit_basis
from scripts.tiny.autoencoder_trainer import pixels
from scripts.tiny.data import Batch, Clips, ClipSet, PoseNoise, render_set, sample_batch
from scripts.tiny.networks import FEATURE_MEAN, FEATURE_STD, make_image_encoder, make_unet
from scripts.tiny.recipe import NetworkRecipe, ObjectiveRecipe

SHRINK = 4
"""Pixels of a side that one latent position stands for."""
HELD_OUT = 1_000_000
STYLE = "small"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Everything that decides the figures of a run but its way of control and its seed."""

    size: tuple[int, int] = (48, 64)
    """(width, height) in pixels."""
    clips: int = 300
    """Characters to train on."""
    held_out: int = 24
    """Characters to validate on; their seeds start at a million."""
    frames: int = 2
    """Frames of a clip in a step."""
    batch: int = 6
    """Clips of a step."""
    channels: tuple[int, ...] = (32, 64, 64)
    """Channels of the UNet's blocks."""
    latents: int = 12
    base_steps: int = 700
    """Steps of the base, which is trained without poses."""
    base_rate: float = 1e-3
    """Its highest learning rate; it falls as a cosine to a twentieth."""
    steps: int = 600
    """Steps of a run."""
    new_rate: float = 2e-3
    """Learning rate of weights that start from nothing."""
    kept_rate: float = 1e-3
    """Learning rate of weights that come from the base. The published tenth of the other moves
    nothing in so few steps."""
    scratch_rate: float = 1e-3
    """Learning rate of everything where there is no base."""
    warm_up: int = 20
    """Steps over which rates rise from 0; afterwards they stay."""
    measured_at: tuple[int, ...] = (0, 25, 50, 100, 150, 200, 300, 400, 500, 600)
    """Steps after which a run is validated."""
    sigma_mean: float = 2.2
    """Mean of the logarithm of sigma in training: where noise hides the picture, a pose decides."""
    pixel_weight: float = 0.8
    """The objective's, in training and validation."""
    sigmas: tuple[float, ...] = (3.0, 15.0, 60.0)
    """Noise levels of the validation."""

    def digest(self, way: Mapping[str, Any]) -> str:
        """Names the runs of a way of control (its fields) under this setting."""
        return self._digest("base_ new_ kept_" if way["scratch"] else "scratch_", way)

    def base_digest(self) -> str:
        """Names the base that is trained under this setting."""
        return self._digest("held_out steps new_ kept_ scratch_ measured_at sigmas")

    def _digest(self, without: str, more: Mapping[str, Any] | None = None) -> str:
        """Digest of all fields but those whose names begin with one of these, and of `more`."""
        free = tuple(without.split())
        values = {name: v for name, v in asdict(self).items() if not name.startswith(free)}
        values.update(more or {})
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]

    def networks(self) -> NetworkRecipe:
        """Sizes of the networks."""
        width = self.channels[0]
        return NetworkRecipe(
            channels=self.channels,
            heads=4,
            context=32,
            time_width=16,
            encoder_size=32,
            encoder_width=32,
            encoder_layers=1,
            controlnext=ControlNeXtConfig(
                stem_channels=(16, 32),
                stem_padding=1,
                block_channels=(32, 64),
                block_groups=(4, 8),
                out_channels=width,
                time_channels=32,
                time_embed_dim=64,
            ),
        )


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Parameters that learn at one rate."""

    parameters: Sequence[nn.Parameter]
    rate: float
    """Highest learning rate."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Clips with everything that a step draws for them."""

    batch: Batch
    draws: objective.Draws


class Laboratory:
    """Clips, latents and the objective of a setting."""

    def __init__(self, setting: Setting, cache: Path) -> None:
        """Renders what is missing in `cache`."""
        self.setting = setting
        self.recipe = ObjectiveRecipe(
            sigma_mean=setting.sigma_mean, pixel_weight=setting.pixel_weight
        )
        sets = [
            ClipSet(size=setting.size, clips=setting.clips),
            ClipSet(size=setting.size, clips=setting.held_out, first_seed=HELD_OUT),
        ]
        for clip_set in sets:
            render_set(cache, clip_set)
        self.training, self.validation = (Clips(cache, clip_set) for clip_set in sets)
        self.basis = self._basis()
        self.trials = [self._validation_trial(sigma) for sigma in setting.sigmas]

    def _basis(self) -> PatchBasis:
        """Fitted to the references of up to 200 characters."""
        count = min(200, len(self.training))
        images = np.stack([self.training.take(i, 0, 1)[0][0] for i in range(count)])
        return fit_basis(pixels(images), self.setting.latents)

    def make_base(self, seed: int) -> nn.ModuleDict:
        """`unet` and `image_encoder` with random weights."""
        torch.manual_seed(seed)
        recipe = self.setting.networks()
        base = nn.ModuleDict(
            {
                "unet": make_unet(recipe, self.setting.latents),
                "image_encoder": make_image_encoder(recipe),
            }
        )
        channels_last(base)
        return base

    def trial(self, seed: int, step: int) -> Trial:
        """The clips and random numbers of a training step."""
        setting = self.setting
        rng = np.random.default_rng([seed, step])
        batch = sample_batch(
            [self.training], clips=setting.batch, frames=setting.frames, style=STYLE,
            noise=PoseNoise(), rng=rng,
        )  # fmt: skip
        return Trial(batch=batch, draws=self._draws(batch, rng))

    def _draws(self, batch: Batch, rng: np.random.Generator) -> objective.Draws:
        clips, frames = batch.frames.shape[:2]
        width, height = self.setting.size
        latents = (clips, frames, self.setting.latents, height // SHRINK, width // SHRINK)
        return objective.draw(self.recipe, latents, (clips, 3, height, width), rng)

    def _validation_trial(self, sigma: float) -> Trial:
        """Every held-out character once, at one noise level, with its exact poses."""
        from scripts.tiny.data import draw_control

        setting = self.setting
        takes = [self.validation.take(i, i % 6, setting.frames) for i in range(setting.held_out)]
        batch = Batch(
            reference=np.stack([images[0] for images, _, _ in takes]),
            frames=np.stack([images[1:] for images, _, _ in takes]),
            control=np.stack(
                [draw_control(points[1:], scores[1:], setting.size, STYLE)
                 for _, points, scores in takes]
            ),
        )  # fmt: skip
        draws = self._draws(batch, np.random.default_rng([7, round(1000 * sigma)]))
        level = torch.full_like(draws.sigma, sigma)
        known = torch.ones_like(draws.keep)
        return Trial(
            batch=batch,
            draws=objective.Draws(
                sigma=level, noise=draws.noise, keep=known, reference_noise=draws.reference_noise
            ),
        )

    def losses(
        self, base: nn.ModuleDict, condition: Condition, trial: Trial, *, swapped: bool = False
    ) -> Tensor:
        """Losses (B,) of the training objective; with `swapped`, every character is given the
        control frames of the one before it (the loss is weighted by its own)."""
        batch, draws = trial.batch, trial.draws
        reference, frames = pixels(batch.reference), pixels(batch.frames)
        control = (pixels(batch.control) + 1) / 2
        clips, count = frames.shape[:2]
        clean = self.basis.encode(frames.flatten(0, 1)).unflatten(0, (clips, count))
        blurred = reference + self.recipe.reference_noise * draws.reference_noise
        constants = objective.precondition(draws.sigma)
        noisy = clean + draws.sigma.view(-1, 1, 1, 1, 1) * draws.noise
        image = self.basis.encode(blurred) * draws.keep.view(-1, 1, 1, 1)
        weights = objective.near_skeleton(control, clean.shape[-2:], self.recipe.near_weight)
        weights = weights * self.basis.pixel_weights(self.recipe.pixel_weight)
        micro = (self.recipe.fps, self.recipe.motion_bucket, self.recipe.reference_noise)
        with torch.autocast("cpu", torch.bfloat16):
            embedding = embed_image(reference, base["image_encoder"], FEATURE_MEAN, FEATURE_STD)
            if swapped:
                control = control.roll(1, 0)
            inputs = Inputs(
                sample=torch.cat(
                    [constants.input * noisy, image[:, None].expand(-1, count, -1, -1, -1)], 2
                ),
                timestep=constants.timestep,
                embedding=embedding * draws.keep.view(-1, 1, 1),
                micro=torch.tensor([micro]).expand(clips, -1),
                control=control,
            )
            condition(inputs)
            prediction = base["unet"](
                inputs.sample,
                inputs.timestep,
                encoder_hidden_states=inputs.embedding,
                added_time_ids=inputs.micro,
                return_dict=False,
            )[0]
        return objective.weighted_loss(constants, noisy, clean, prediction, weights)

    @torch.no_grad()
    def validate(
        self, base: nn.ModuleDict, condition: Condition, *, swapped: bool = False
    ) -> list[float]:
        """Mean loss of the held-out characters at each noise level; `swapped` as in `losses`."""
        return [
            self.losses(base, condition, trial, swapped=swapped).mean().item()
            for trial in self.trials
        ]

    def train(
        self,
        base: nn.ModuleDict,
        method: Method,
        groups: Sequence[ParameterGroup],
        *,
        seed: int,
        steps: int,
        on_step: Callable[[int, Condition], None],
        fall: bool = False,
    ) -> None:
        """Train parameter groups for some steps; `on_step(step, condition)` is called before the
        first and after each. With `fall`, rates fall as a cosine.

        Raises `TrainingError` when a loss is not finite.
        """
        optimiser = torch.optim.AdamW(
            [{"params": group.parameters, "lr": group.rate} for group in groups],
            betas=(0.9, 0.99), weight_decay=0.01, fused=True,
        )  # fmt: skip
        trained = [p for group in groups for p in group.parameters]
        with ExitStack() as stack:
            stack.enter_context(fast_on_cpu(base["unet"], method))
            condition = stack.enter_context(method.attach(base["unet"]))
            on_step(0, condition)
            for step in range(steps):
                share = min((step + 1) / self.setting.warm_up, 1)
                if fall:
                    share *= 0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * step / steps))
                for values, group in zip(optimiser.param_groups, groups, strict=True):
                    values["lr"] = group.rate * share
                loss = self.losses(base, condition, self.trial(seed, step)).mean()
                if not torch.isfinite(loss):
                    raise TrainingError(f"the loss of step {step} is {loss.item()}")
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimiser.step()
                on_step(step + 1, condition)


QUICK = Setting(
    size=(32, 48),
    clips=4,
    held_out=2,
    batch=2,
    channels=(32, 32, 32),
    latents=4,
    base_steps=2,
    steps=2,
    warm_up=1,
    measured_at=(0, 1, 2),
    sigmas=(1.0,),
)
"""Toy size: seconds a run."""
