"""Noise levels: the same for every solver, and what the network is told about them."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import EulerDiscreteScheduler

from animate.errors import RequestError
from animate.generate.schedules import (
    SOLVERS,
    align_your_steps,
    call_sigmas,
    make_scheduler,
    model_timesteps,
)
from tests.generate.ideal import SVD_SCHEDULER


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("levels", ["model", "align-your-steps"])
def test_all_solvers_run_over_the_same_levels_and_tell_them_the_same_way(solver, levels):
    scheduler = make_scheduler(SVD_SCHEDULER, 7, solver=solver, levels=levels)
    sigmas = call_sigmas(scheduler)
    assert len(sigmas) == (13 if solver == "heun" else 7)
    assert sigmas[0] == pytest.approx(700, rel=1e-5)
    expected = [0.25 * math.log(sigma) for sigma in sigmas]
    assert scheduler.timesteps.tolist() == pytest.approx(expected, abs=1e-5)
    euler = call_sigmas(make_scheduler(SVD_SCHEDULER, 7, levels=levels))
    assert sorted(set(sigmas), reverse=True) == euler
    assert float(scheduler.sigmas[-1]) == 0


def test_the_model_s_levels_are_diffusers_own_to_the_bit():
    stock = EulerDiscreteScheduler.from_config(SVD_SCHEDULER)
    stock.set_timesteps(25)
    ours = make_scheduler(SVD_SCHEDULER, 25)
    assert torch.equal(ours.sigmas, stock.sigmas)
    assert torch.equal(ours.timesteps, stock.timesteps)


def test_align_your_steps_is_the_published_table_at_ten_steps():
    published = [700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.0]
    assert align_your_steps(10) == pytest.approx(published)
    for steps in (1, 2, 5, 25):
        levels = align_your_steps(steps)
        assert len(levels) == steps + 1
        assert levels[0] == pytest.approx(700)
        assert levels == sorted(set(levels), reverse=True)


def test_a_discrete_model_is_told_its_training_timestep():
    config = {**SVD_SCHEDULER, "timestep_type": "discrete", "use_karras_sigmas": False}
    base = EulerDiscreteScheduler.from_config(config)
    base.set_timesteps(10)
    told = model_timesteps(base, base.sigmas.tolist())
    assert told == pytest.approx(base.timesteps.tolist(), abs=0.05)
    scheduler = make_scheduler(config, 4, levels="align-your-steps")
    assert scheduler.timesteps.tolist() == sorted(scheduler.timesteps.tolist(), reverse=True)


def test_bad_names_are_refused():
    with pytest.raises(RequestError, match="euler, heun, dpmpp-2m, unipc"):
        make_scheduler(SVD_SCHEDULER, 4, solver="rk4")
    with pytest.raises(RequestError, match="model, align-your-steps"):
        make_scheduler(SVD_SCHEDULER, 4, levels="cosine")
    with pytest.raises(RequestError, match="fewest is 1"):
        align_your_steps(0)
