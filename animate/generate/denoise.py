"""The denoising loop: every frame of a clip, step by step, window by window.

Shapes: F frames of the clip, W windows computed together, S slots of a window, C H W a latent,
c h w a control feature map.

The loop never asks the device for a value, so the device is never waited for. Predictions that lie
on the host are looked at there: one that is not finite ends the clip at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from animate.errors import InternalError, NotFiniteError
from animate.generate.clip_state import ClipState, step_clip
from animate.generate.guidance import step_scales
from animate.generate.schedules import call_sigmas
from animate.models.config import Along
from animate.request.values import Guidance, NoiseInterval
from temporal.fuse import add_window, plan_tables
from temporal.windows import Window, WindowPlan

ControlFeatures = Callable[[Sequence[int], Tensor], Tensor]
"""Features (n,c,h,w) of the control frames with the given global indices, at a timestep."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of the network."""

    step: int
    """Number of the denoising step, from 0."""
    timestep: Tensor
    """The scheduler's: one number, on the device."""
    scale: Tensor | None
    """Guidance scale of each slot (S), or of each window's slots (W,S); None: the conditional half
    alone."""
    windows: tuple[Window, ...]
    """The W windows that it is for."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The steps of one clip, fixed before the first. Raises InternalError where counts differ."""

    plan: WindowPlan
    """The windows of every step."""
    timesteps: Tensor
    """The scheduler's, one for each step."""
    scales: tuple[Tensor | None, ...]
    """Guidance of each step, from `guidance.step_scales`: of each slot, or of each frame."""
    along: Along = "window"
    """The scales belong to the slots of a "window", or to the frames of the "clip"."""

    def __post_init__(self) -> None:
        if not self.plan.steps == len(self.timesteps) == len(self.scales):
            raise InternalError(
                f"{self.plan.steps} planned steps, {len(self.timesteps)} timesteps and "
                f"{len(self.scales)} guidance scales do not belong together"
            )

    @classmethod
    def of(
        cls,
        scheduler: Any,
        plan: WindowPlan,
        guidance: Guidance,
        interval: NoiseInterval | None = None,
        along: Along = "window",
    ) -> Steps:
        """The steps of a scheduler, with this guidance at the noise levels of the interval."""
        times = scheduler.timesteps
        count = plan.window if along == "window" else plan.frames
        scales = step_scales(
            guidance, count, call_sigmas(scheduler), interval=interval, device=times.device
        )
        return cls(plan=plan, timesteps=times, scales=scales, along=along)

    def call(self, step: int, windows: tuple[Window, ...]) -> Call:
        """The call of the network for these windows of a step."""
        scale = self.scales[step]
        if self.along == "clip" and scale is not None:
            scale = torch.stack([scale[list(window.frames)] for window in windows])
        return Call(step=step, timestep=self.timesteps[step], scale=scale, windows=windows)


class Predict(Protocol):
    """The network: guided predictions (W,S,C,H,W) for scaled latents of the same shape.

    control: features (W,S,c,h,w) for the conditional half, None for none
    """

    def __call__(self, sample_WSCHW: Tensor, control: Tensor | None, call: Call) -> Tensor: ...


def _always(state: ClipState) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Networks:
    """The networks as the loop calls them, ready to compute."""

    predict: Predict
    control: ControlFeatures | None = None
    """Asked once per frame and step, for the frames that the next window needs; None: no control,
    or `predict` sees to it."""
    batch: int = 1
    """Windows that go through the network together."""
    on_window: Callable[[int], None] | None = None
    """Called with the number of windows just finished; None: nobody counts, or `predict` does."""
    resumable: Callable[[ClipState], bool] = _always
    """True for a state from which new networks would go on with the same bits."""


@torch.no_grad()
def denoise(
    start: Tensor | ClipState,
    scheduler: Any,
    steps: Steps,
    networks: Networks,
    *,
    device: torch.device | str | None = None,
    on_step: Callable[[int, Tensor], Tensor | None] | None = None,
    on_state: Callable[[ClipState], None] | None = None,
) -> Tensor:
    """Turn standard normal noise into clean latents (F,C,H,W), float32.

    start: the noise, or the state of an earlier run, which is taken over and changed; the clip's
        latents stay on its device
    scheduler: any of diffusers', with its timesteps set on `device`; not yet stepped, or brought
        to the state's step by `restore_solver`
    device: where the networks are; None: where the noise is. Keeping the latents elsewhere makes
        the device's memory independent of the clip's length and waits for it once per window.
    on_step: called after each step with its number and the latents, which must not be changed;
        latents that it returns are taken in their place
    on_state: called after each window and after each step with all that it takes to go on from
        there, together with the scheduler; it must be copied or written at once. Not called with
        states that the networks cannot go on from.

    Raises NotFiniteError for a prediction on the host that is not finite.
    """
    state = start if isinstance(start, ClipState) else ClipState.begin(start, scheduler)
    device = state.latents.device if device is None else device
    plan, batch = steps.plan, networks.batch
    tables = plan_tables(plan, state.latents.device)
    if not len(state.fused):
        state.fused = torch.zeros_like(state.latents)
    while state.step < plan.steps:
        step, timestep = state.step, steps.timesteps[state.step]
        windows, table = plan.at(step), tables[step % len(tables)]
        features = _StepFeatures(networks.control, timestep, windows, batch)
        for first in range(state.window, len(windows), batch):
            group = windows[first : first + batch]
            indices = range(first, first + len(group))
            samples = [
                scheduler.scale_model_input(state.latents[table.frames[w]], timestep)
                for w in indices
            ]
            control = features.of(indices)
            call = steps.call(step, group)
            prediction = networks.predict(torch.stack(samples).to(device), control, call)
            prediction = prediction.to(state.fused.device)
            _check_finite(prediction, control, call, plan.steps)
            for row, w in enumerate(indices):
                part = prediction[row : row + 1]
                add_window(state.fused[None], part, table.frames[w], table.shares[w])
            state.window = indices.stop
            if networks.on_window is not None:
                networks.on_window(len(group))
            if state.window < len(windows):
                _offer(state, networks, on_state)
        # One step for the whole clip: solvers that remember earlier predictions stay right.
        step_clip(scheduler, state, timestep)
        if on_step is not None:
            changed = on_step(step, state.latents)
            state.latents = state.latents if changed is None else changed
        _offer(state, networks, on_state)
    return state.latents


def _offer(
    state: ClipState, networks: Networks, on_state: Callable[[ClipState], None] | None
) -> None:
    if on_state is not None and networks.resumable(state):
        on_state(state)


def _check_finite(prediction: Tensor, control: Tensor | None, call: Call, steps: int) -> None:
    """Raise NotFiniteError for a prediction on the host that is not finite.

    A device's is left alone: to look at it would wait for the device.
    """
    if prediction.device.type != "cpu" or bool(torch.isfinite(prediction).all()):
        return
    network = "UNet"
    if control is not None and not bool(torch.isfinite(control).all()):
        network = "control network"
    frames = [window.frames for window in call.windows]
    raise NotFiniteError(
        "denoise",
        f"step {call.step + 1} of {steps}, frames {frames[0][0]} to {frames[-1][-1]}",
        network,
    )


class _StepFeatures:
    """The control features of one step: each frame's once, held while a window still needs it."""

    def __init__(
        self,
        control: ControlFeatures | None,
        timestep: Tensor,
        windows: Sequence[Window],
        batch: int,
    ) -> None:
        self._control, self._timestep, self._windows = control, timestep, windows
        self._held: dict[int, Tensor] = {}
        self._last_use = {f: index for index, w in enumerate(windows) for f in w.control}
        # The frames that are new to each group of windows. A step that resumes in the middle asks
        # for the same groups again: features computed in other company may differ in rounding.
        self._group_of: dict[int, int] = {}
        self._groups: dict[int, list[int]] = {}
        for index, window in enumerate(windows):
            for frame in sorted(set(window.control) - self._group_of.keys()):
                self._group_of[frame] = index // batch
                self._groups.setdefault(index // batch, []).append(frame)

    def of(self, indices: range) -> Tensor | None:
        """Features (W,S,c,h,w) of the windows with these indices, asked for in rising order."""
        if self._control is None:
            return None
        frames_of_windows = [self._windows[index].control for index in indices]
        missing = {f for frames in frames_of_windows for f in frames} - self._held.keys()
        for group in sorted({self._group_of[frame] for frame in missing}):
            frames = sorted(self._groups[group])
            self._held.update(zip(frames, self._control(frames, self._timestep), strict=True))
        features = torch.stack(
            [torch.stack([self._held[f] for f in frames]) for frames in frames_of_windows]
        )
        self._held = {f: x for f, x in self._held.items() if self._last_use[f] > indices[-1]}
        return features
