"""Steps of a distilled model: levels, clean latents, fresh noise by frame."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from animate.errors import ModelError, RequestError
from animate.generate.consistency import ConsistencyScheduler, step_seed
from animate.generate.video_diffusion import VideoDiffusion
from animate.models.variants import load_variant
from tests.generate.ideal import SVD_SCHEDULER


def published_levels(steps: int, levels: int = 40) -> list[float]:
    """Every N-th of the training levels from 700 down to 0.002, and zero."""
    ramp = [index * (levels // steps) / (levels - 1) for index in range(steps)]
    ends = 700 ** (1 / 7), 0.002 ** (1 / 7)
    return [*((ends[0] + part * (ends[1] - ends[0])) ** 7 for part in ramp), 0.0]


@pytest.mark.parametrize("steps", [1, 4, 6, 40])
def test_the_levels_are_every_nth_of_those_distilled_at(steps):
    scheduler = ConsistencyScheduler(SVD_SCHEDULER, steps, levels=40)
    assert scheduler.sigmas.tolist() == pytest.approx(published_levels(steps), rel=1e-5)
    told = [0.25 * math.log(sigma) for sigma in published_levels(steps)[:-1]]
    assert scheduler.timesteps.tolist() == pytest.approx(told, rel=1e-5, abs=1e-5)


def test_a_step_of_a_right_velocity_is_the_clean_clip_from_any_level():
    scheduler = ConsistencyScheduler(SVD_SCHEDULER, 4, levels=40)
    clean, noise = torch.randn(2, 5, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    for index, timestep in enumerate(scheduler.timesteps):
        sigma = float(scheduler.sigmas[index])
        noisy = clean + sigma * noise
        scaled = scheduler.scale_model_input(noisy, timestep)
        torch.testing.assert_close(scaled, noisy / math.sqrt(sigma**2 + 1))
        velocity = (noise - sigma * clean) / math.sqrt(sigma**2 + 1)
        found = scheduler.step(velocity, timestep, noisy).prev_sample
        torch.testing.assert_close(found, clean, rtol=0, atol=1e-3)


@pytest.mark.parametrize("steps", [0, 41])
def test_more_steps_than_levels_are_refused(steps):
    with pytest.raises(RequestError, match=f"{steps} steps are not between 1 and the 40 noise"):
        ConsistencyScheduler(SVD_SCHEDULER, steps, levels=40)


def test_the_noise_of_two_steps_and_two_seeds_differs():
    seeds = {step_seed(seed, step) for seed in (0, 1, 2**64 - 1) for step in range(8)}
    assert len(seeds) == 24
    assert 0 not in seeds
    assert all(0 <= seed < 2**64 for seed in seeds)


@pytest.mark.parametrize(
    ("option", "values"), [("--solver heun", "heun"), ("--levels align", "levels")]
)
def test_other_solvers_and_levels_are_refused_by_name(option, values):
    variant = load_variant("svd-v2-lcm")
    changed = {"solver": "heun"} if values == "heun" else {"levels": "align-your-steps"}
    settings = replace(variant.defaults, **changed)
    with pytest.raises(RequestError, match=rf"{option}.* is not for svd-v2-lcm"):
        VideoDiffusion().scheduler(variant, settings, torch.device("cpu"))  # type: ignore[arg-type]


def test_a_distilled_model_of_another_family_is_a_fault_of_its_file():
    with pytest.raises(ModelError, match="distilled_levels are two or more"):
        replace(load_variant("animate-anyone"), distilled_levels=40)
    with pytest.raises(ModelError, match="distilled_levels are two or more"):
        replace(load_variant("svd-v2"), distilled_levels=1)
