"""Fine-tune a base model: a control network and part of a UNet, all of it, or adapters.

The loop is `animate.training.loop`; here stands what is trained, on which clips, and how the
networks are called, which is how inference calls them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.random import Generator
from torch import Tensor, nn

from animate.errors import TrainingError
from animate.generate.pipeline import Engine
from animate.models.base import base_variant, load_base
from animate.models.components import Components
from animate.models.injection import ControlPort, inject, learned_weight
from animate.models.variants import ModelVariant
from animate.progress import Progress, Quiet
from animate.training import objective
from animate.training.finetune_config import FineTuneConfig
from animate.training.loop import Loop, LoopOptions, make_accelerator
from animate.training.loss_weights import part_weights
from animate.training.objective import ObjectiveRecipe, clip_losses
from animate.training.parts import choose_trained
from animate.training.samples import SampleBatch, Samples, collate, pixels
from animate.training.speed import fast_on_cpu

FALLEN = 0.01
"""Share of the highest learning rate that a falling schedule ends at."""


def fine_tune(config: FineTuneConfig, progress: Progress | None = None) -> Path:
    """Run the recipe to its end, from its checkpoint if there is one; returns the run's folder.

    Raises `TrainingError` for data that cannot be used, sizes that the base cannot take, another
    recipe's checkpoint, and a loss that is not finite (the last checkpoint stays).
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    config.folder.mkdir(parents=True, exist_ok=True)
    accelerator = make_accelerator(config.folder, config.trackers)
    shown_progress = (progress or Quiet()) if accelerator.is_main_process else Quiet()
    check_offered(base_variant(config.base, config.like))
    parts = load_base(config.base, like=config.like, control=config.control, seed=config.seed)
    check_size(config, parts)
    with accelerator.main_process_first():  # the others find its poses and clips
        samples = open_samples(config, shown_progress)
    FineTuner(config, parts, samples, accelerator).run(shown_progress)
    return config.folder


def open_samples(config: FineTuneConfig, progress: Progress) -> Samples:
    """The clips that the recipe trains on."""
    from animate.training.video_samples import VideoSamples
    from animate.training.videos import usable_videos

    videos = usable_videos(config.data.videos, config.frames, progress)
    return VideoSamples(videos, config.data.videos)


def check_offered(variant: ModelVariant) -> None:
    """Raises `TrainingError` for models whose training this recipe is not."""
    if variant.family != "svd" or variant.face is not None:
        besides = "a reference UNet" if variant.face is None else "a face encoder"
        raise TrainingError(
            f"fine-tuning on videos is not offered for {variant.name}, which has {besides} to "
            "train besides; choose a base on Stable Video Diffusion with a control network alone, "
            "such as svd-v2 or mimicmotion-1-1"
        )


def check_size(config: FineTuneConfig, parts: Components) -> None:
    """Raises `TrainingError` for sizes that the base cannot take."""
    variant = parts.variant
    size, multiple = config.data.videos.size, variant.size_multiple
    if size.width % multiple or size.height % multiple:
        raise TrainingError(
            f"size {size} cannot be trained with {variant.name}: both sides must be multiples "
            f"of {multiple}, such as {variant.sizes[0]}"
        )


class FineTuner(Loop):
    """A run from a base model."""

    def __init__(
        self,
        config: FineTuneConfig,
        parts: Components,
        samples: Samples,
        accelerator: Accelerator,
    ) -> None:
        self.config, self.parts, self.samples = config, parts, samples
        self.port: ControlPort | None = None
        networks: nn.ModuleDict = nn.ModuleDict(
            {"unet": parts.unet, "controlnext": parts.controlnext}
        )
        parameters = choose_trained(networks, config.train, config.lora, config.seed)
        networks.to(accelerator.device)
        parts.vae.to(accelerator.device)
        parts.image_encoder.to(accelerator.device)
        if config.gradient_checkpointing:
            parts.unet.enable_gradient_checkpointing()
        # Known to the losses, but no part of what accelerate wraps.
        self._called = {**networks, "image_encoder": parts.image_encoder}
        self._coming: tuple[list[int], Future[SampleBatch]] | None = None
        self._reader = ThreadPoolExecutor(1)
        super().__init__(
            LoopOptions(
                folder=config.folder,
                digest=config.digest(base=dict(parts.digests), data=samples.digest),
                recipe=config.digest(base=dict(parts.digests)),
                seed=config.seed,
                steps=config.steps,
                accumulate=config.accumulate,
                clip_norm=config.clip_norm,
                ema=config.ema,
                weight_decay=config.weight_decay,
                checkpoint_every=config.checkpoint_every,
                validate_every=config.validation.every,
            ),
            accelerator,
            networks,
            parameters,
        )

    def rate(self) -> float:
        """Learning rate: warm-up, then the schedule down to a hundredth."""
        config = self.config
        share = min(self.step / config.steps, 1)
        shares = {
            "constant": 1.0,
            "linear": 1 - (1 - FALLEN) * share,
            "cosine": FALLEN + (1 - FALLEN) * 0.5 * (1 + math.cos(math.pi * share)),
        }
        return (
            config.rate * shares[config.schedule] * min((self.step + 1) / max(config.warm_up, 1), 1)
        )

    @contextmanager
    def session(self) -> Iterator[None]:
        """See `Loop`."""
        unet = self.parts.unet
        with ExitStack() as stack:
            stack.callback(self.networks.eval)
            self.networks.train()  # what gradient checkpointing asks for
            if self.accelerator.device.type == "cpu":
                stack.enter_context(fast_on_cpu(unet))
            self.port = stack.enter_context(inject(unet, self.parts.variant.injection))
            yield

    def batch(self, rng: Generator, part: int) -> SampleBatch:
        """See `Loop`; the clips of the next batch are read while this one is trained on."""
        seed = self.seed_of(self.step, part)
        if self._coming is not None and self._coming[0] == seed:
            batch = self._coming[1].result()
        else:
            batch = self._read(seed)
        last = part + 1 == self.config.accumulate
        step = self.step + 1 if last else self.step
        if step < self.config.steps:
            following = self.seed_of(step, 0 if last else part + 1)
            self._coming = (following, self._reader.submit(self._read, following))
        return batch

    def _read(self, seed: list[int]) -> SampleBatch:
        rng = np.random.default_rng([*seed, 1])
        clips = [self.samples.sample(self.config.frames, rng) for _ in range(self.config.batch)]
        variant = self.parts.variant
        return collate(clips, variant.pose_style, warp=variant.image_latents == "warped")

    def losses(self, batch: SampleBatch, rng: Generator) -> Tensor:
        """See `Loop`."""
        config, variant, device = self.config, self.parts.variant, self.accelerator.device
        reference, frames = pixels(batch.reference).to(device), pixels(batch.frames).to(device)
        control = ((pixels(batch.control) + 1) / 2).to(device)
        micro = variant.micro_conditions
        recipe = self.objective()
        with torch.no_grad():
            clean = self._encode(frames.flatten(0, 1)) * self.parts.vae.config.scaling_factor
            clean = clean.unflatten(0, frames.shape[:2])
            draws = objective.draw(recipe, tuple(clean.shape), tuple(reference.shape), rng)
            draws = draws.to(device)
            pictures = reference[:, None]
            if batch.warped is not None:
                pictures = pixels(batch.warped).to(device)
            noisy = pictures + micro.noise_augmentation * draws.reference_noise[:, None]
            image_latents = self._encode(noisy.flatten(0, 1)).unflatten(0, noisy.shape[:2])
        assert self.port is not None, "losses are computed within a session"
        size = (clean.shape[-2], clean.shape[-1])
        return clip_losses(
            self._called,
            self.port,
            clean_BFCHW=clean,
            reference_B3HW=reference,
            image_latents_BFCHW=image_latents,
            control_BF3HW=control,
            weights_BFCHW=part_weights(config.objective, control, batch.points, batch.scores, size),
            draws=draws,
            micro=(micro.fps, micro.motion_bucket, micro.noise_augmentation),
            half=config.precision == "bfloat16",
            feature_mean=variant.feature_mean,
            feature_std=variant.feature_std,
            weight=learned_weight(variant.injection, self.parts.controlnext),
        )

    def objective(self) -> ObjectiveRecipe:
        """The shared objective with this recipe's draws and the variant's constants."""
        recipe, micro = self.config.objective, self.parts.variant.micro_conditions
        return ObjectiveRecipe(
            sigma_mean=recipe.sigma_mean,
            sigma_deviation=recipe.sigma_deviation,
            dropout=recipe.dropout,
            near_weight=recipe.near_weight,
            reference_noise=micro.noise_augmentation,
            fps=micro.fps,
            motion_bucket=micro.motion_bucket,
        )

    def _encode(self, images_N3HW: Tensor) -> Tensor:
        """Latents (N,C,h,w) of images in [-1,1], unscaled, a few at a time."""
        parts = images_N3HW.split(self.config.encode_chunk)
        vae: Any = self.parts.vae
        return torch.cat([vae.encode(part).latent_dist.mode() for part in parts])

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """The product's own engine with the moving average, for looking at what it makes."""
        with self.averaged():
            yield Engine(components=self.parts, device=self.accelerator.device)

    def validate(self, progress: Progress) -> None:
        """See `Loop`."""
        from animate.training.validation import validate

        recipe = self.config.validation
        samples = self.samples.held_out(self.config.frames, recipe.clips)
        with self.engine() as engine:
            numbers = validate(engine, samples, self.config.folder, self.step, recipe.steps)
        self.log.values(self.step, numbers)
        text = ", ".join(f"{name} {value:.3f}" for name, value in numbers.items())
        progress.note(f"validation {self.step}: {text}")
