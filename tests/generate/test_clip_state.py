"""Going on in the midst of the loop, and stepping a long clip in parts: the same bits."""

from __future__ import annotations

import copy

import pytest
import torch

from animate.generate import denoise as loop
from animate.generate.clip_state import ClipState, restore_solver, solver_state, step_clip
from animate.generate.denoise import Networks, Steps, denoise
from animate.generate.schedules import SOLVERS, make_scheduler
from temporal.noise import frame_noise
from temporal.windows import SCHEDULES, plan_windows
from tests.generate.ideal import SVD_SCHEDULER, IdealNetwork

FRAMES, SHAPE = 19, (4, 3, 5)
NOISE = frame_noise(FRAMES, SHAPE, seed=3)


class Features:
    """Features that depend on the frames that were asked for together, as rounding may."""

    def __call__(self, frames, timestep):
        return torch.tensor([1000 * sum(frames) + f for f in frames]).view(-1, 1, 1, 1).float()


def run(solver, schedule="static", start=NOISE, scheduler=None, batch=1, **listeners):
    scheduler = scheduler or make_scheduler(SVD_SCHEDULER, 4, solver=solver)
    calls = len(scheduler.timesteps)
    network = IdealNetwork(frame_noise(FRAMES, SHAPE, seed=99), 0.4)

    def predict(sample, control, call):
        return network(sample, control, call) + 1e-7 * control

    plan = plan_windows(FRAMES, window=8, overlap=3, steps=calls, schedule=schedule)
    steps = Steps(plan=plan, timesteps=scheduler.timesteps, scales=(None,) * calls)
    networks = Networks(predict=predict, control=Features(), batch=batch)
    return denoise(start, scheduler, steps, networks, **listeners)


LAYOUTS = [(solver, "static", 1) for solver in SOLVERS]
LAYOUTS += [("euler", schedule, 2) for schedule in SCHEDULES]


@pytest.mark.parametrize(("solver", "schedule", "batch"), LAYOUTS)
def test_going_on_from_any_state_gives_the_same_bits(solver, schedule, batch):
    original = make_scheduler(SVD_SCHEDULER, 4, solver=solver)
    kept = []

    def keep(state):
        tensors, values = solver_state(original)
        kept.append(copy.deepcopy((state, tensors, values)))

    whole = run(solver, schedule, scheduler=original, batch=batch, on_state=keep)
    assert any(state.window for state, _, _ in kept)
    for state, tensors, values in kept[::2]:
        scheduler = make_scheduler(SVD_SCHEDULER, 4, solver=solver)
        restore_solver(scheduler, tensors, values)
        gone_on = run(solver, schedule, start=state, scheduler=scheduler, batch=batch)
        assert torch.equal(gone_on, whole)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_clip_stepped_in_parts_has_the_same_bits(solver, monkeypatch):
    whole = run(solver)
    each = NOISE[0].numel() * 4

    def in_parts(scheduler, state, timestep):
        step_clip(scheduler, state, timestep, step_bytes=5 * each)

    monkeypatch.setattr(loop, "step_clip", in_parts)
    assert torch.equal(run(solver), whole)


def test_the_noise_is_left_as_it_is_and_fused_predictions_are_gone_after_a_step():
    before = NOISE.clone()
    seen = []
    run("euler", on_state=lambda state: seen.append((state.window, float(state.fused.abs().sum()))))
    assert torch.equal(NOISE, before)
    assert all((window == 0) == (total == 0) for window, total in seen)


def test_a_state_begins_with_scaled_noise():
    scheduler = make_scheduler(SVD_SCHEDULER, 4)
    state = ClipState.begin(NOISE, scheduler)
    assert (state.step, state.window) == (0, 0)
    assert torch.equal(state.latents, NOISE * scheduler.init_noise_sigma)
