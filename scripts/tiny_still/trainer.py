"""Train UNet, text encoder and control network together. The loop is `animate.training.loop`."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor

from animate.progress import Progress, Quiet
from animate.training.loop import LoopOptions, make_accelerator
from animate.training.objective import near_skeleton
from animate.training.samples import pixels
from scripts.bundled.loop import WholeLoop
from scripts.tiny_still.autoencoder import Autoencoder, train_autoencoder
from scripts.tiny_still.data import Batch, People
from scripts.tiny_still.networks import make_networks, make_scheduler, make_tokenizer
from scripts.tiny_still.recipe import StillRecipe


def train(recipe: StillRecipe, progress: Progress | None = None) -> Path:
    """Run the recipe to its end, from its checkpoints; returns the run's folder."""
    progress = progress or Quiet()
    torch.set_num_threads(1)
    recipe.folder.mkdir(parents=True, exist_ok=True)
    people = People(recipe, progress)
    Trainer(recipe, people, train_autoencoder(recipe, people, progress)).run(progress)
    return recipe.folder


class Trainer(WholeLoop):
    """Denoising of described people; captions and control are left out now and then."""

    def __init__(self, recipe: StillRecipe, people: People, autoencoder: Autoencoder) -> None:
        self.recipe, self.people = recipe, people
        self.tokenizer = make_tokenizer(recipe.folder / "tokenizer", recipe.networks.text_length)
        accelerator = make_accelerator(recipe.folder)
        self.basis = autoencoder.basis.to(accelerator.device)
        self.scheduler = make_scheduler()
        super().__init__(
            LoopOptions(
                folder=recipe.folder,
                digest=recipe.digest(),
                seed=recipe.seed,
                steps=recipe.steps,
                ema=recipe.ema,
                checkpoint_every=recipe.checkpoint_every,
            ),
            accelerator,
            make_networks(recipe, self.tokenizer),
            recipe.networks.injection,
        )

    def rate(self) -> float:
        """Learning rate: a rise, a plateau, a cosine."""
        recipe = self.recipe
        steady = recipe.steady * recipe.steps
        fallen = max(self.step - steady, 0) / max(recipe.steps - steady, 1)
        share = 0.5 * (1 + math.cos(math.pi * fallen))
        rate = recipe.final_rate + (recipe.rate - recipe.final_rate) * share
        return rate * min((self.step + 1) / max(recipe.warm_up, 1), 1)

    def batch(self, rng: Generator, part: int) -> Batch:
        """See `Loop`."""
        return self.people.batch(self.recipe.batch, rng)

    def losses(self, batch: Batch, rng: Generator) -> Tensor:
        """Losses (B,) of a batch with the draws of a generator."""
        recipe, device = self.recipe, self.accelerator.device
        count = len(batch.captions)
        with torch.no_grad():
            clean = self.basis.encode(pixels(batch.pictures).to(device))
        noise = torch.from_numpy(rng.standard_normal(tuple(clean.shape)).astype(np.float32))
        levels = int(self.scheduler.config.num_train_timesteps)
        timesteps = torch.from_numpy(rng.integers(levels, size=count)).to(device)
        silent = rng.random(count) < recipe.without_text
        noise = noise.to(device)
        noisy = self.scheduler.add_noise(clean, noise, timesteps)
        target = self.scheduler.get_velocity(clean, noise, timesteps)
        captions = ["" if mute else text for mute, text in zip(silent, batch.captions, strict=True)]
        control = ((pixels(batch.control) + 1) / 2).to(device)
        height, width = clean.shape[-2:]
        near = near_skeleton(control[:, None], (height, width), recipe.near_weight)[:, 0]
        weights = near * self.basis.pixel_weights(recipe.pixel_weight)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.half):
            prediction = self._predict(noisy, timesteps, captions, control)
        squared = F.mse_loss(prediction.float(), target, reduction="none")
        return (squared * weights).mean((1, 2, 3))

    def _predict(
        self, noisy: Tensor, timesteps: Tensor, captions: list[str], control: Tensor
    ) -> Tensor:
        tokens = self.tokenizer(
            captions, padding="max_length", truncation=True, return_tensors="pt",
            max_length=self.recipe.networks.text_length,
        )  # fmt: skip
        context = self.networks["text_encoder"](tokens.input_ids.to(noisy.device))[0]
        # The last rows of a batch are trained without control: people are drawn in no order.
        parts = self.recipe.parts
        weight = self.recipe.networks.injection.weight
        features = self.networks["controlnext"](control[:, None], timesteps)
        self.port.hold(features, [weight] * (parts - 1) + [0.0])
        prediction: Tensor = self.networks["unet"](noisy, timesteps, context).sample
        return prediction
