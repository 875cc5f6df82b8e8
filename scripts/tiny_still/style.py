"""A LoRA of one style, trained on styled pictures of the same people: ink on paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from animate.progress import Progress
from animate.training.samples import pixels
from scripts.bundled.decoder import trained_basis
from scripts.tiny_still.data import People
from scripts.tiny_still.export import averaged
from scripts.tiny_still.networks import make_scheduler, make_tokenizer
from scripts.tiny_still.recipe import StillRecipe

LAYERS = ["to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "proj_in", "proj_out"]
_PAPER = np.array((244, 236, 216), np.float32)
_INK = np.array((52, 40, 44), np.float32)


def ink(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (h,w,3) as ink on paper: its grey between two tones, edges darkened."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    smooth = cv2.GaussianBlur(grey, (0, 0), 0.8)
    down, across = np.gradient(smooth)
    lines = np.clip(5 * np.hypot(down, across), 0, 1)
    light = np.clip(0.35 + 0.75 * grey, 0, 1) * (1 - 0.85 * lines)
    toned = _INK + light[..., None] * (_PAPER - _INK)
    return np.clip(toned, 0, 255).astype(np.uint8)


def train_style(recipe: StillRecipe, people: People, path: Path, progress: Progress) -> Path:
    """Train the LoRA on a run's UNet, and write it in diffusers' layout; returns the file."""
    from diffusers import StableDiffusionPipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    style = recipe.style
    torch.manual_seed(recipe.seed)
    networks = averaged(recipe)
    unet: Any = networks["unet"]
    unet.add_adapter(LoraConfig(r=style.rank, lora_alpha=style.rank, target_modules=LAYERS))
    parameters = [value for value in unet.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=style.rate, weight_decay=0.0)
    encoding = _Encoding(recipe, networks)
    with progress.stage("style", style.steps) as stage:
        for step in range(style.steps):
            for group in optimiser.param_groups:
                group["lr"] = style.rate * min(1.0, (step + 1) / 20) * (1 - step / style.steps)
            rng = np.random.default_rng([recipe.seed, 30, step])
            batch = people.batch(recipe.batch, rng, first=style.people)
            styled = np.stack([ink(picture) for picture in batch.pictures])
            noisy, timesteps, target, context = encoding(styled, batch.captions, rng)
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.half):
                prediction = unet(noisy, timesteps, context).sample
            loss = F.mse_loss(prediction.float(), target)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            stage.advance()
            if (step + 1) % 50 == 0:
                progress.note(f"style {step + 1}: loss {loss.item():.4f}")
    layers = get_peft_model_state_dict(unet)
    StableDiffusionPipeline.save_lora_weights(
        path.parent, {name: value.half() for name, value in layers.items()}, weight_name=path.name
    )
    return path


class _Encoding:
    """Noisy latents, their targets and embedded captions of pictures."""

    def __init__(self, recipe: StillRecipe, networks: Any) -> None:
        self._basis = trained_basis(recipe.folder, recipe.autoencoder_digest())
        self._scheduler = make_scheduler()
        self._length = recipe.networks.text_length
        self._tokenizer = make_tokenizer(recipe.folder / "tokenizer", self._length)
        self._text = networks["text_encoder"]

    @torch.no_grad()
    def __call__(
        self, pictures: NDArray[np.uint8], captions: list[str], rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        clean = self._basis.encode(pixels(pictures))
        noise = torch.from_numpy(rng.standard_normal(tuple(clean.shape)).astype(np.float32))
        levels = int(self._scheduler.config.num_train_timesteps)
        timesteps = torch.from_numpy(rng.integers(levels, size=len(clean)))
        tokens = self._tokenizer(
            captions, padding="max_length", truncation=True, return_tensors="pt",
            max_length=self._length,
        )  # fmt: skip
        context = self._text(tokens.input_ids)[0]
        noisy = self._scheduler.add_noise(clean, noise, timesteps)
        return noisy, timesteps, self._scheduler.get_velocity(clean, noise, timesteps), context
