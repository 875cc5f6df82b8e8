"""Classifier-free guidance: its scale along a window, and over the noise levels.

Shapes: W windows, S slots of a window, C H W a latent.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from animate.request.values import Guidance, NoiseInterval


def window_scales(guidance: Guidance, slots: int, device: torch.device | str = "cpu") -> Tensor:
    """Scale of each slot (S), linear from the first to the last as in the published pipeline."""
    return torch.linspace(guidance.first, guidance.last, slots).to(device)


def step_scales(
    guidance: Guidance,
    slots: int,
    sigmas: Sequence[float],
    *,
    interval: NoiseInterval | None = None,
    device: torch.device | str = "cpu",
) -> tuple[Tensor | None, ...]:
    """For each step, with noise level `sigmas[step]`, the scales (S), or None for no guidance.

    A scale of 1 everywhere is no guidance either: the unconditional half would cancel out. Outside
    `interval` only the conditional half is computed (Kynkaanniemi et al., arXiv 2404.07724).
    """
    scales = window_scales(guidance, slots, device)
    guided = guidance != (1.0, 1.0)
    return tuple(
        scales if guided and (interval is None or interval.holds(sigma)) else None
        for sigma in sigmas
    )


def guide(unconditional_WSCHW: Tensor, conditional_WSCHW: Tensor, scale: Tensor) -> Tensor:
    """From the unconditional prediction `scale`, one or (S) or (W,S), times as far as the other."""
    factor = torch.atleast_1d(scale).unflatten(-1, (-1, 1, 1, 1))
    return unconditional_WSCHW + factor * (conditional_WSCHW - unconditional_WSCHW)
