"""The denoising loop: every solver, any layout, control once per frame, nothing left behind."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from diffusers import EulerDiscreteScheduler

from animate.errors import InternalError, NotFiniteError
from animate.generate.denoise import Networks, Steps, denoise
from animate.generate.schedules import SOLVERS, make_scheduler
from temporal.noise import frame_noise
from temporal.published import published_plan
from temporal.windows import SCHEDULES, plan_windows
from tests.generate.ideal import SVD_SCHEDULER, IdealNetwork

FRAMES, SHAPE = 19, (4, 3, 5)
NOISE = frame_noise(FRAMES, SHAPE, seed=3)


def ideal(spread: float = 0.4) -> IdealNetwork:
    return IdealNetwork(frame_noise(FRAMES, SHAPE, seed=99), spread)


def run(
    network, *, solver="euler", steps=6, plan=None, scales=None, on_step=None, on_state=None, **more
):
    """Latents; `more` are fields of `Networks`."""
    scheduler = make_scheduler(SVD_SCHEDULER, steps, solver=solver)
    calls = len(scheduler.timesteps)
    plan = plan or plan_windows(FRAMES, window=8, overlap=3, steps=calls)
    scales = (None,) * calls if scales is None else tuple(scales)
    order = Steps(plan=plan, timesteps=scheduler.timesteps, scales=scales)
    networks = Networks(predict=network, **more)
    return denoise(NOISE, scheduler, order, networks, on_step=on_step, on_state=on_state)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_finds_the_exact_solution(solver):
    network = ideal()
    error = (run(network, solver=solver, steps=200) - network.solution(NOISE)).abs().max()
    assert error < {"euler": 0.04}.get(solver, 3e-3)


@pytest.mark.parametrize("solver", [solver for solver in SOLVERS if solver != "euler"])
def test_higher_orders_converge_faster(solver):
    network = ideal()
    exact = network.solution(NOISE)

    def error(solver: str, steps: int) -> float:
        return float((run(network, solver=solver, steps=steps) - exact).abs().max())

    # The order shows from 40 steps on, until float32 ends it near 2e-3.
    assert error(solver, 80) < 0.2 * error("euler", 80)
    assert error(solver, 80) < 0.35 * error(solver, 40)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_layout_of_windows_does_not_matter_to_a_network_that_sees_single_frames(
    solver, schedule
):
    steps = len(make_scheduler(SVD_SCHEDULER, 6, solver=solver).timesteps)
    plan = plan_windows(FRAMES, window=8, overlap=3, steps=steps, schedule=schedule)
    whole = plan_windows(FRAMES, window=FRAMES, overlap=0, steps=steps)
    layers = [run(ideal(), solver=solver, plan=p) for p in (plan, whole)]
    torch.testing.assert_close(layers[0], layers[1], rtol=0, atol=2e-4)


def test_windows_may_be_computed_together_and_runs_repeat_to_the_bit():
    network = ideal()
    alone = run(network)
    assert torch.equal(alone, run(ideal()))
    for batch in (2, 3, 100):
        network = ideal()
        assert torch.equal(run(network, batch=batch), alone)
        assert max(len(call.windows) for call in network.calls) == min(batch, 4)


@pytest.mark.parametrize("mode", ["controlnext-v1", "controlnext-v2"])
def test_fusing_before_the_step_is_the_published_averaging_after_it(mode):
    """Every window steps on its own with a scheduler of its own; the results are averaged."""
    network = ideal()
    plan = published_plan(mode, FRAMES, window=8, overlap=2, steps=5)
    ours = run(network, steps=5, plan=plan)
    latents = NOISE * make_scheduler(SVD_SCHEDULER, 5).init_noise_sigma
    for step in range(5):
        total, count = torch.zeros_like(latents), torch.zeros(FRAMES, 1, 1, 1)
        for window in plan.at(step):
            scheduler = EulerDiscreteScheduler.from_config(SVD_SCHEDULER)
            scheduler.set_timesteps(5)
            scheduler.set_begin_index(step)
            timestep, frames = scheduler.timesteps[step], list(window.frames)
            sample = scheduler.scale_model_input(latents[frames], timestep)
            call = type(network.calls[0])(
                step=step, timestep=timestep, scale=None, windows=(window,)
            )
            stepped = scheduler.step(
                network(sample[None], None, call)[0], timestep, latents[frames]
            )
            keep = torch.tensor(window.weights).view(-1, 1, 1, 1)
            total[frames] += stepped.prev_sample * keep
            count[frames] += keep
        latents = total / count
    torch.testing.assert_close(ours, latents, rtol=1e-5, atol=1e-4)


class Control:
    """Features that are their frame's number, and a record of what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, tuple[int, ...]]] = []

    def __call__(self, frames, timestep):
        self.asked.append((float(timestep), tuple(frames)))
        return torch.tensor(frames, dtype=torch.float32).view(-1, 1, 1, 1)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("schedule", [*SCHEDULES, "controlnext-v2"])
def test_each_frame_s_control_is_asked_once_a_step_and_goes_to_its_slot(schedule, batch):
    shape = {"window": 8, "overlap": 3, "steps": 4}
    if schedule == "controlnext-v2":
        plan = published_plan(schedule, FRAMES, **shape)
    else:
        plan = plan_windows(FRAMES, **shape, schedule=schedule)
    control, network = Control(), ideal()

    def predict(sample, features, call):
        wanted = [list(map(float, window.control)) for window in call.windows]
        assert features.flatten(1).tolist() == wanted
        return network(sample, features, call)

    run(predict, steps=4, plan=plan, control=control, batch=batch)
    for timestep in {timestep for timestep, _ in control.asked}:
        frames = [f for time, asked in control.asked if time == timestep for f in asked]
        assert Counter(frames) == Counter(range(FRAMES))


def test_progress_and_steps_are_reported():
    windows, steps, network = [], [], ideal()
    plan = plan_windows(FRAMES, window=8, overlap=3, steps=6, schedule="shifting")
    final = run(
        network,
        plan=plan,
        on_window=windows.append,
        on_step=lambda step, latents: steps.append((step, latents.clone())),
    )
    assert sum(windows) == plan.calls == len(network.calls)
    assert [step for step, _ in steps] == list(range(6))
    assert torch.equal(steps[-1][1], final)


def test_the_scale_of_each_step_reaches_the_network():
    network = ideal()
    scales = [torch.full((8,), float(step)) for step in range(5)] + [None]
    run(network, scales=scales)
    assert all(call.scale is scales[call.step] for call in network.calls)


def test_a_network_says_which_states_are_offered():
    states = []
    run(ideal(), on_state=lambda s: states.append((s.step, s.window)))
    steps = []
    run(ideal(), resumable=lambda s: not s.window, on_state=lambda s: steps.append(s.step))
    assert steps == [step for step, window in states if not window] == list(range(1, 7))
    assert len(states) > len(steps)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_prediction_that_is_not_finite_ends_the_clip_before_it_is_fused(value):
    network, states = ideal(), []

    def predict(sample, control, call):
        prediction = network(sample, control, call)
        if call.step == 2 and call.windows[0].frames[0] > 0:
            prediction[0, 3, 1, 2, 2] = value
        return prediction

    def keep(state):
        states.append((state.step, state.window))
        assert torch.isfinite(state.fused).all()

    with pytest.raises(NotFiniteError) as stop:
        run(predict, on_state=keep)
    assert states[-1] == (2, 1)  # work up to there can be kept
    for words in ("denoise", "UNet", "step 3 of 6", "frames 5 to 12", "--precision bfloat16"):
        assert words in str(stop.value)


def test_control_that_is_not_finite_is_named():
    control = Control()

    def broken(frames, timestep):
        return control(frames, timestep) * float("nan")

    def predict(sample, features, call):
        return sample * features.sum()

    with pytest.raises(NotFiniteError, match="the control network gave numbers"):
        run(predict, control=broken)


def test_steps_that_do_not_belong_together_are_refused():
    with pytest.raises(InternalError, match="7 planned steps, 6 timesteps and 6"):
        run(ideal(), plan=plan_windows(FRAMES, window=8, overlap=3, steps=7))
