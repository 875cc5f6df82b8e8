"""Noise levels and the solvers that run over them.

Every solver here runs over the same noise levels, those of the model's own Euler scheduler or a
table, and tells the network the same timestep for the same level. diffusers' other schedulers
would otherwise take their levels from the training betas (14.6 at most, where Stable Video
Diffusion starts at 700) and give the network a timestep that it was not trained with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from diffusers.schedulers import AysSchedules

from animate.errors import RequestError
from animate.request.request import Levels, Solver

SOLVERS: tuple[Solver, ...] = get_args(Solver)


def make_scheduler(
    config: Mapping[str, Any],
    steps: int,
    *,
    solver: Solver = "euler",
    levels: Levels = "model",
    device: torch.device | str = "cpu",
) -> Any:
    """A new diffusers scheduler with its timesteps set, ready for `denoise`.

    config: of the model's `EulerDiscreteScheduler`
    steps: noise levels; Heun calls the network twice for each but the last
    levels: the model's own, or Align-Your-Steps for Stable Video Diffusion
    Raises RequestError for an unknown solver or kind of levels.
    """
    base = EulerDiscreteScheduler.from_config(config)
    base.set_timesteps(steps)
    if levels == "align-your-steps":
        sigmas = align_your_steps(steps)
        set_levels(base, sigmas, model_timesteps(base, sigmas))
    elif levels != "model":
        raise RequestError(f"no noise levels {levels!r}; there are {', '.join(get_args(Levels))}")
    scheduler = base if solver == "euler" else _other_solver(base, solver, steps)
    # Tables are made on the host: diffusers reads them value by value, and so they have the same
    # bits on every device.
    scheduler.timesteps = scheduler.timesteps.to(device)
    # Otherwise the first step would look its index up by value, which waits for the device.
    scheduler.set_begin_index(0)
    return scheduler


def align_your_steps(steps: int) -> list[float]:
    """The published levels for Stable Video Diffusion (Sabour et al., arXiv 2404.14507), and 0.

    They are given for 10 steps; for another number they are interpolated in the logarithm, as
    their authors advise.
    """
    if steps < 1:
        raise RequestError(f"{steps} steps cannot be scheduled; the fewest is 1")
    table = np.log(AysSchedules["StableDiffusionVideoSigmas"][:-1])
    positions = np.linspace(0, len(table) - 1, steps) if steps > 1 else np.zeros(1)
    return [*np.exp(np.interp(positions, np.arange(len(table)), table)).tolist(), 0.0]


def model_timesteps(base: EulerDiscreteScheduler, sigmas: Sequence[float]) -> list[float]:
    """The network's time argument for each noise level but the last, 0."""
    if base.config.timestep_type == "continuous":
        return [0.25 * math.log(sigma) for sigma in sigmas[:-1]]
    alphas = base.alphas_cumprod.double().numpy()
    trained = 0.5 * np.log((1 - alphas) / alphas)
    return np.interp(np.log(sigmas[:-1]), trained, np.arange(len(trained))).tolist()


def call_sigmas(scheduler: Any) -> list[float]:
    """Noise level at each of the scheduler's timesteps, that is at each call of the network.

    Of schedulers without noise levels, such as DDIM, those that their signal levels stand for.
    """
    if not hasattr(scheduler, "sigmas"):
        # Where no signal is left the level has no end.
        signal = scheduler.alphas_cumprod[scheduler.timesteps.cpu()].clamp(min=1e-8)
        levels: list[float] = ((1 - signal) / signal).sqrt().tolist()
        return levels
    return scheduler.sigmas[: len(scheduler.timesteps)].tolist()


def set_levels(scheduler: Any, sigmas: Sequence[float], timesteps: Sequence[float]) -> None:
    """Replace the tables of a scheduler whose `set_timesteps` was called for as many steps.

    sigmas: one more than timesteps, ending with 0
    """
    levels = torch.tensor(sigmas, dtype=torch.float32)
    times = torch.tensor(timesteps, dtype=torch.float32)
    if isinstance(scheduler, HeunDiscreteScheduler):  # its inner levels are called twice
        levels = torch.cat([levels[:1], levels[1:-1].repeat_interleave(2), levels[-1:]])
        times = torch.cat([times[:1], times[1:].repeat_interleave(2)])
    scheduler.sigmas, scheduler.timesteps = levels, times


def _other_solver(base: EulerDiscreteScheduler, solver: Solver, steps: int) -> Any:
    names = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type")
    shared = {name: base.config[name] for name in names}
    scheduler: Any
    if solver == "heun":
        scheduler = HeunDiscreteScheduler(**shared, timestep_spacing=base.config.timestep_spacing)
    elif solver == "dpmpp-2m":
        scheduler = DPMSolverMultistepScheduler(
            **shared, algorithm_type="dpmsolver++", solver_order=2
        )
    elif solver == "unipc":
        scheduler = UniPCMultistepScheduler(**shared, solver_order=2)
    else:
        raise RequestError(f"no solver {solver!r}; there are {', '.join(SOLVERS)}")
    scheduler.set_timesteps(steps)
    set_levels(scheduler, base.sigmas.tolist(), base.timesteps.tolist())
    return scheduler
