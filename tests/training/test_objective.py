"""The objective's formulas are the scheduler's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from animate.models.components import make_scheduler
from animate.training import objective
from scripts.tiny.recipe import ObjectiveRecipe


def clip(seed: int) -> torch.Tensor:
    return torch.randn(2, 3, 4, 6, 5, generator=torch.Generator().manual_seed(seed))


def test_the_right_prediction_gives_the_clean_latents() -> None:
    clean, noise = clip(0), clip(1)
    sigma = torch.tensor([0.3, 20.0])
    constants = objective.precondition(sigma)
    noisy = clean + sigma.view(-1, 1, 1, 1, 1) * noise
    target = constants.target(noisy, clean)
    torch.testing.assert_close(constants.denoised(noisy, target), clean, atol=1e-4, rtol=1e-4)


def test_without_noise_the_latents_pass_through() -> None:
    clean, anything = clip(0), clip(1)
    constants = objective.precondition(torch.tensor([1e-5, 1e-5]))
    torch.testing.assert_close(constants.denoised(clean, anything), clean, atol=1e-4, rtol=0)


def test_network_inputs_and_targets_have_unit_variance() -> None:
    clean, noise = clip(0), clip(1)
    for sigma in (0.05, 1.0, 50.0):
        level = torch.full((2,), sigma)
        constants = objective.precondition(level)
        noisy = clean + sigma * noise
        assert (constants.input * noisy).std() == pytest.approx(1, abs=0.1)
        assert constants.target(noisy, clean).std() == pytest.approx(1, abs=0.1)


def test_the_scheduler_samples_what_was_trained() -> None:
    scheduler = make_scheduler(objective.scheduler_config(0.02, 80.0))
    scheduler.set_timesteps(4)
    sigma, following = scheduler.sigmas[:2]
    constants = objective.precondition(sigma.view(1).expand(2))
    assert constants.timestep[0] == pytest.approx(float(scheduler.timesteps[0]), abs=1e-5)
    clean, noise = clip(0), clip(1)
    noisy = clean + sigma * noise
    scaled = scheduler.scale_model_input(noisy, scheduler.timesteps[0])
    torch.testing.assert_close(scaled, constants.input * noisy)
    prediction = constants.target(noisy, clean)
    step = scheduler.step(prediction, scheduler.timesteps[0], noisy)
    torch.testing.assert_close(step.pred_original_sample, clean, atol=2e-3, rtol=1e-3)
    expected = clean + following * noise
    torch.testing.assert_close(step.prev_sample, expected, atol=2e-3, rtol=1e-3)


def test_the_loss_is_that_of_clean_latents_weighted_by_the_noise_level() -> None:
    clean, noise, prediction = clip(0), clip(1), clip(2)
    sigma = torch.tensor([0.5, 5.0])
    constants = objective.precondition(sigma)
    noisy = clean + sigma.view(-1, 1, 1, 1, 1) * noise
    weights = torch.ones(2, 3, 1, 6, 5)
    loss = objective.weighted_loss(constants, noisy, clean, prediction, weights)
    error = (constants.denoised(noisy, prediction) - clean) ** 2
    expected = error.mean((1, 2, 3, 4)) * (1 + sigma**2) / sigma**2
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def test_the_skeleton_weighs_more_and_the_mean_stays() -> None:
    control = torch.zeros(1, 2, 3, 32, 32)
    control[:, 0, 0, 12:16, 12:16] = 1
    weights = objective.near_skeleton(control, (8, 8), 3.0)
    torch.testing.assert_close(weights.mean((2, 3, 4)), torch.ones(1, 2))
    assert weights[0, 0, 0, 3, 3] == pytest.approx(3 * float(weights[0, 0, 0, 0, 7]))
    assert (weights[0, 1] == 1).all()


def test_draws_follow_the_recipe() -> None:
    recipe = ObjectiveRecipe(sigma_mean=0.5, sigma_deviation=0.1, dropout=0.25)
    drawn = objective.draw(recipe, (4000, 1, 1, 1, 1), (4000, 3, 1, 1), np.random.default_rng(0))
    assert drawn.sigma.log().mean() == pytest.approx(0.5, abs=0.01)
    assert drawn.sigma.log().std() == pytest.approx(0.1, abs=0.01)
    assert 1 - drawn.keep.mean() == pytest.approx(0.25, abs=0.03)
