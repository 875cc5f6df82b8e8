"""Steps of a distilled UNet: the clean clip at once, then fresh noise of the next level.

A consistency model (Song et al., arXiv 2303.01469) was trained to go from any noise level straight
to the clean latents. A step takes it at its word and adds new noise of the next, lower level, so a
few steps do. AnimateLCM (Wang et al., arXiv 2402.00769) distilled Stable Video Diffusion so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from animate.errors import RequestError

_RHO = 7.0
"""Exponent of the training levels (Karras et al., arXiv 2206.00364)."""
_STREAM = 0x9E3779B97F4A7C15
"""Distance of the seeds of two steps' noise."""


@dataclass(frozen=True, kw_only=True)
class Denoised:
    """Outcome of a step."""

    prev_sample: Tensor
    """The clean latents that the network predicts; noise is for the caller to add."""


class ConsistencyScheduler:
    """Levels and steps by the conventions of diffusers' schedulers, but for the noise, which the
    caller adds: it belongs to frames by their number, and a step may see some of a clip's."""

    def __init__(
        self,
        config: Mapping[str, Any],
        steps: int,
        *,
        levels: int,
        device: torch.device | str = "cpu",
    ) -> None:
        """
        config: of the base's `EulerDiscreteScheduler`, with `sigma_min` and `sigma_max`
        steps: calls of the network
        levels: those that the UNet was distilled at; every (levels // steps)th of them is used
        device: of the timesteps
        Raises RequestError for more steps than levels.
        """
        if not 1 <= steps <= levels:
            raise RequestError(
                f"{steps} steps are not between 1 and the {levels} noise levels that this model "
                "was distilled at; 4 to 8 are usual"
            )
        least, most = float(config["sigma_min"]), float(config["sigma_max"])
        ramp = torch.arange(steps, dtype=torch.float64) * (levels // steps) / (levels - 1)
        ends = [level ** (1 / _RHO) for level in (most, least)]
        sigmas = (ends[0] + ramp * (ends[1] - ends[0])) ** _RHO
        self.sigmas = torch.cat([sigmas, torch.zeros(1, dtype=torch.float64)]).float()
        self.timesteps = (0.25 * sigmas.log()).float().to(device)
        self.init_noise_sigma = math.sqrt(most**2 + 1)
        self._index = 0

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """The latents as the UNet takes them at the step that comes next."""
        return sample / math.sqrt(float(self.sigmas[self._index]) ** 2 + 1)

    def step(self, output: Tensor, timestep: Tensor, sample: Tensor) -> Denoised:
        """The clean latents by the network's output, a velocity."""
        sigma = float(self.sigmas[self._index])
        self._index += 1
        variance = sigma**2 + 1
        return Denoised(prev_sample=sample / variance - output * (sigma / math.sqrt(variance)))


def step_seed(seed: int, step: int) -> int:
    """Seed of the noise that is added after a step; that of the clip's first noise is another."""
    return (seed + (step + 1) * _STREAM) % 2**64
