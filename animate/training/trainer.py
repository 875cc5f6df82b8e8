"""The training loop: stages of clips, a moving average, checkpoints that resume to the bit.

Every step draws its numbers from the recipe's seed and its own number, so a run that is killed and
taken up again continues exactly as it would have.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from animate.errors import TrainingError
from animate.models.injection import ControlPort, inject
from animate.progress import Progress, Quiet
from animate.training import objective
from animate.training.autoencoder_trainer import open_sets, pixels, train_autoencoder
from animate.training.checkpoints import load_checkpoint, save_checkpoint
from animate.training.config import Stage, TrainingConfig
from animate.training.data import Batch, Clips, PoseNoise, sample_batch
from animate.training.networks import make_networks, predict
from animate.training.speed import channels_last, fast_on_cpu

STATE = "networks.pt"
LOG = "log.jsonl"

Encode = Callable[[Tensor], Tensor]
"""Latents (N,C,h,w) of images (N,3,H,W) in [-1,1]."""


def train(config: TrainingConfig, progress: Progress | None = None) -> Path:
    """Run the recipe to its end, from its checkpoint if there is one; returns the run's folder.

    Raises `TrainingError` when a loss is not finite (the last checkpoint stays).
    """
    progress = progress or Quiet()
    torch.set_num_threads(config.threads)
    config.folder.mkdir(parents=True, exist_ok=True)
    vae = train_autoencoder(config, progress)
    with ExitStack() as stack:
        stack.enter_context(fast_on_cpu(vae))
        trainer = Trainer(config, lambda images: vae.encode(images).latent_dist.mode())
        trainer.run(progress)
    return config.folder


class Trainer:
    """The networks of a run with all that a step needs."""

    def __init__(self, config: TrainingConfig, encode: Encode) -> None:
        self.config, self.encode = config, encode
        self.networks = make_networks(config)
        if config.start_from is not None:
            start_from(self.networks, config.start_from)
        channels_last(self.networks)
        self.parameters = list(self.networks.parameters())
        self.average = [p.detach().clone() for p in self.parameters]
        self.optimiser = torch.optim.AdamW(
            self.parameters, betas=(0.9, 0.99), weight_decay=config.weight_decay, fused=True
        )
        self.step = 0
        self.noise = PoseNoise(**vars(config.pose_noise))
        state = load_checkpoint(config.folder / STATE, config.digest())
        if state is not None:
            self._restore(state)

    def run(self, progress: Progress) -> None:
        """Train until the last stage's last step."""
        config = self.config
        sets: list[Clips] = []
        current: Stage | None = None
        losses: list[float] = []
        began = time.monotonic()
        with ExitStack() as stack:
            stack.enter_context(fast_on_cpu(self.networks["unet"]))
            recipe = config.networks
            unet = self.networks["unet"]
            port = stack.enter_context(inject(unet, "down", recipe.control_weight))
            left = config.steps - self.step
            shown = stack.enter_context(progress.stage("training", left))
            while self.step < config.steps:
                stage, place = self._stage()
                if stage is not current:
                    current, sets = stage, open_sets(config, stage.sets)
                losses.append(self.train_step(port, sets, stage, place))
                shown.advance()
                if self.step % config.checkpoint_every == 0 or self.step == config.steps:
                    self.save()
                    pace = (time.monotonic() - began) / len(losses)
                    self._log(progress, losses[-config.checkpoint_every :], pace)

    def _stage(self) -> tuple[Stage, float]:
        """The stage of the next step, and how far it is, from 0 to 1."""
        first = 0
        for stage in self.config.stages:
            if self.step < first + stage.steps:
                return stage, (self.step - first) / stage.steps
            first += stage.steps
        raise AssertionError("asked for a stage after the last step")

    def rate(self, stage: Stage, place: float) -> float:
        """Learning rate: the warm-up's share of a cosine between the stage's two rates."""
        fall = 0.5 * (1 + math.cos(math.pi * place))
        rate = stage.final_rate + (stage.rate - stage.final_rate) * fall
        return rate * min((self.step + 1) / max(self.config.warm_up, 1), 1)

    def train_step(self, port: ControlPort, sets: list[Clips], stage: Stage, place: float) -> float:
        """One step of the optimiser; returns the loss."""
        config = self.config
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(stage, place)
        rng = np.random.default_rng([config.seed, 20, self.step])
        batch = sample_batch(
            sets, clips=stage.batch, frames=stage.frames, style=config.pose_style,
            noise=self.noise, rng=rng,
        )  # fmt: skip
        loss = self.losses(port, batch, rng).mean()
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss of step {self.step} is {loss.item()}; the checkpoint before it is kept "
                "in " + str(config.folder)
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, config.clip_norm)
        self.optimiser.step()
        self.step += 1
        keep = min(config.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - keep)
        return loss.item()

    def losses(self, port: ControlPort, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Losses (B,) of a batch with the draws of a generator."""
        recipe = self.config.objective
        reference, frames = pixels(batch.reference), pixels(batch.frames)
        control = (pixels(batch.control) + 1) / 2
        clips, count = frames.shape[:2]
        with torch.no_grad():
            clean = self.encode(frames.flatten(0, 1)).unflatten(0, (clips, count))
            draws = objective.draw(recipe, tuple(clean.shape), tuple(reference.shape), rng)
            blurred = reference + recipe.reference_noise * draws.reference_noise
            reference_latents = self.encode(blurred)
        constants = objective.precondition(draws.sigma)
        noisy = clean + draws.sigma.view(-1, 1, 1, 1, 1) * draws.noise
        weights = objective.near_skeleton(control, clean.shape[-2:], recipe.near_weight)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            prediction = predict(
                self.networks,
                port,
                scaled_BFCHW=constants.input * noisy,
                timestep_B=constants.timestep,
                reference_B3HW=reference,
                reference_latents_BCHW=reference_latents,
                control_BF3HW=control,
                keep_B=draws.keep,
                micro=(recipe.fps, recipe.motion_bucket, recipe.reference_noise),
            )
        return objective.weighted_loss(constants, noisy, clean, prediction, weights)

    def averaged(self) -> dict[str, Tensor]:
        """The moving average as a state dict of the networks (with buffers as they are)."""
        state = {name: value.clone() for name, value in self.networks.state_dict().items()}
        names = [name for name, _ in self.networks.named_parameters()]
        state.update(zip(names, (value.clone() for value in self.average), strict=True))
        return state

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "digest": self.config.digest(),
            "step": self.step,
            "networks": self.networks.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
        }
        save_checkpoint(self.config.folder / STATE, state)

    def _restore(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.networks.load_state_dict(state["networks"])
        self.optimiser.load_state_dict(state["optimiser"])
        for own, kept in zip(self.average, state["average"], strict=True):
            own.copy_(kept)

    def _log(self, progress: Progress, losses: list[float], pace: float) -> None:
        mean = sum(losses) / len(losses)
        line = {"step": self.step, "loss": round(mean, 4), "seconds_a_step": round(pace, 3)}
        with open(self.config.folder / LOG, "a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        progress.note(f"training {self.step}: loss {mean:.4f}, {pace:.2f} s a step")


def start_from(networks: nn.ModuleDict, folder: Path) -> None:
    """Give the networks the weights of a model folder. Raises `ModelError` where they differ."""
    from animate.models.components import load_components
    from animate.models.variants import load_variant

    loaded = load_components(load_variant(str(folder)))
    for name, network in networks.items():
        network.load_state_dict(getattr(loaded, name).state_dict())
