"""Small random networks of the real classes, and inputs for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def worst(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference over the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter drawn anew, mixing factors away from the half: nothing is 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(0.2 * noise + (1.0 if "norm" in name and "weight" in name else 0.0))
    return module.eval().requires_grad_(False)


def unet_inputs(
    batch: int = 2, frames: int = 5, size: tuple[int, int] = (10, 6), width: int = 16
) -> dict[str, Any]:
    """Arguments of one call; size is (width, height) in latent pixels."""
    generator = torch.Generator().manual_seed(7)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "sample": draw(batch, frames, 8, size[1], size[0]),
        "timestep": torch.tensor(0.7),
        "encoder_hidden_states": draw(batch, 1, width),
        "added_time_ids": torch.tensor([[6.0, 127.0, 0.02]]).expand(batch, 3),
        "return_dict": False,
    }
