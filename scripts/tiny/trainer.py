"""Train a small model on procedural characters: what the bundled model's recipes run.

The loop is `animate.training.loop`; here stands what a recipe of stages trains, and on what.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from numpy.random import Generator
from torch import Tensor

from animate.generate.pipeline import Engine
from animate.progress import Progress, Quiet
from animate.training import objective
from animate.training.loop import LoopOptions, make_accelerator
from animate.training.objective import ObjectiveRecipe, clip_losses
from animate.training.samples import pixels
from scripts.bundled.loop import WholeLoop
from scripts.tiny.autoencoder_trainer import open_sets
from scripts.tiny.characters import Take
from scripts.tiny.data import Batch, Clips, PoseNoise, sample_batch
from scripts.tiny.recipe import Stage, TrainingConfig
from scripts.tiny.start import Start, open_start

HELD_OUT_FRAMES = 8


def train(config: TrainingConfig, progress: Progress | None = None) -> Path:
    """Run the recipe to its end, from its checkpoint if there is one; returns the run's folder.

    Raises `TrainingError` when a loss is not finite (the last checkpoint stays).
    """
    progress = progress or Quiet()
    torch.set_num_threads(config.threads)
    config.folder.mkdir(parents=True, exist_ok=True)
    accelerator = make_accelerator(config.folder)
    with accelerator.main_process_first():  # the others find its autoencoder and clips
        start = open_start(config, progress)
    Trainer(config, start).run(progress)
    return config.folder


class Trainer(WholeLoop):
    """A run on procedural characters: UNet, control network and image encoder, stage by stage."""

    def __init__(self, config: TrainingConfig, start: Start) -> None:
        self.config, self.start = config, start
        accelerator = make_accelerator(config.folder)
        self.encoder = start.encoder.to(accelerator.device)
        self.noise = PoseNoise(**vars(config.pose_noise))
        self._sets: list[Clips] = []
        self._opened: Stage | None = None
        self._held_out: list[Take] = []
        super().__init__(
            LoopOptions(
                folder=config.folder,
                digest=config.digest(start.digests),
                seed=config.seed,
                steps=config.steps,
                clip_norm=config.clip_norm,
                ema=config.ema,
                weight_decay=config.weight_decay,
                checkpoint_every=config.checkpoint_every,
                validate_every=config.validate_every,
            ),
            accelerator,
            start.networks,
            start.variant.injection,
        )

    def position(self) -> float:
        """Steps of the recipe that lie behind the next one."""
        return self.step

    def stage(self) -> tuple[Stage, float]:
        """The stage of the next step, and how far it is, from 0 to 1."""
        return self.config.stage_at(self.position())

    def rate(self) -> float:
        """Learning rate: the warm-up's share of a cosine between the stage's two rates."""
        stage, progress = self.stage()
        fall = 0.5 * (1 + math.cos(math.pi * progress))
        rate = stage.final_rate + (stage.rate - stage.final_rate) * fall
        return rate * min((self.step + 1) / max(self.config.warm_up, 1), 1)

    def batch(self, rng: Generator, part: int) -> Batch:
        """See `Loop`."""
        stage, _ = self.stage()
        if stage is not self._opened:
            with self.accelerator.main_process_first():
                self._opened, self._sets = stage, open_sets(self.config, stage.sets)
        warped = self.config.image_latents == "warped"
        return sample_batch(
            self._sets, clips=stage.batch, frames=stage.frames, style=self.config.pose_style,
            noise=self.noise, rng=rng, unwarped=self.config.unwarped if warped else None,
        )  # fmt: skip

    def _objective(self) -> ObjectiveRecipe:
        """The objective, with what the stage changes in it."""
        stage, _ = self.stage()
        recipe = self.config.objective
        if stage.sigma is not None:
            return replace(recipe, sigma_mean=math.log(stage.sigma), sigma_deviation=0.0)
        if stage.sigma_mean is None:
            return recipe
        return replace(recipe, sigma_mean=stage.sigma_mean)

    def losses(self, batch: Batch, rng: Generator) -> Tensor:
        """Losses (B,) of a batch with the draws of a generator."""
        recipe, device = self._objective(), self.accelerator.device
        reference, frames = pixels(batch.reference).to(device), pixels(batch.frames).to(device)
        control = ((pixels(batch.control) + 1) / 2).to(device)
        clips, count = frames.shape[:2]
        with torch.no_grad():
            clean = self.encoder.encode(frames.flatten(0, 1)).unflatten(0, (clips, count))
            draws = objective.draw(recipe, tuple(clean.shape), tuple(reference.shape), rng)
            draws = draws.to(device)
            pictures = reference[:, None]
            if batch.warped is not None:
                pictures = pixels(batch.warped).to(device)
            noisy = pictures + recipe.reference_noise * draws.reference_noise[:, None]
            image_latents = self.encoder.encode(noisy.flatten(0, 1)).unflatten(0, noisy.shape[:2])
        weights = objective.near_skeleton(control, clean.shape[-2:], recipe.near_weight)
        return clip_losses(
            self.networks,
            self.port,
            clean_BFCHW=clean,
            reference_B3HW=reference,
            image_latents_BFCHW=image_latents,
            control_BF3HW=control,
            weights_BFCHW=weights * self.encoder.pixel_weights(recipe.pixel_weight),
            draws=draws,
            micro=(recipe.fps, recipe.motion_bucket, recipe.reference_noise),
            half=self.config.half,
            feature_mean=self.start.variant.feature_mean,
            feature_std=self.start.variant.feature_std,
        )

    def validate(self, progress: Progress) -> None:
        """See `Loop`: held-out characters, in windows of the stage's length."""
        from scripts.tiny import evaluation

        variant = self.start.variant
        if not self._held_out:
            count = self.config.validate_clips
            self._held_out = evaluation.held_out(count, HELD_OUT_FRAMES, variant.sizes)
        window = self.config.stage_at(self.step - 1)[0].frames  # of the stage that has come so far
        with self.averaged():
            engine = Engine(components=self.start.components(), device=self.accelerator.device)
            scores = evaluation.mean_scores(
                [
                    evaluation.score(evaluation.animate_take(engine, take, window=window), take)
                    for take in self._held_out
                ]
            )
        numbers = {**scores.as_row(), "window": float(window)}
        self.log.values(self.step, numbers)
        words = ", ".join(f"{name} {value:.3f}" for name, value in numbers.items())
        progress.note(f"held out {self.step}: {words}")
