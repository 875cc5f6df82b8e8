"""A VGG-16 in torchvision's names, with weights that nobody trained."""

from __future__ import annotations

import torch

_LAYERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_CHANNELS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)


def random_vgg() -> dict[str, torch.Tensor]:
    """The state dict of its convolutions, and of a classifier that nobody needs."""
    generator = torch.Generator().manual_seed(16)
    weights: dict[str, torch.Tensor] = {}
    channels = 3
    for layer, width in zip(_LAYERS, _CHANNELS, strict=True):
        deviation = (2 / (9 * channels)) ** 0.5
        shape = (width, channels, 3, 3)
        weights[f"features.{layer}.weight"] = deviation * torch.randn(shape, generator=generator)
        weights[f"features.{layer}.bias"] = 0.05 * torch.randn(width, generator=generator)
        channels = width
    weights["classifier.0.weight"] = torch.zeros(2, 2)
    return weights
