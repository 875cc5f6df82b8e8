"""The denoising loop: every frame of a clip, step by step, window by window.

Shapes: F frames of the clip, W windows computed together, S slots of a window, C H W a latent,
c h w a control feature map.

The loop never asks the device for a value, so the device is never waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from animate.errors import InternalError
from animate.generate.clip_state import ClipState, step_clip
from temporal.fuse import add_window, plan_tables
from temporal.windows import Window, WindowPlan

ControlFeatures = Callable[[Sequence[int], Tensor], Tensor]
"""Features (n,c,h,w) of the control frames with the given global indices, at a timestep."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """What one call of the network is about.

    step: number of the call, from 0
    timestep: the scheduler's, a tensor of one number on the device
    scale: guidance scale of each slot (S); None: the conditional half alone
    windows: the W windows that it is for
    """

    step: int
    timestep: Tensor
    scale: Tensor | None
    windows: tuple[Window, ...]


class Predict(Protocol):
    """The network: guided predictions (W,S,C,H,W) for scaled latents of the same shape.

    control: features (W,S,c,h,w) for the conditional half, None for none
    """

    def __call__(self, sample_WSCHW: Tensor, control: Tensor | None, call: Call) -> Tensor: ...


@torch.no_grad()
def denoise(
    start: Tensor | ClipState,
    *,
    scheduler: Any,
    plan: WindowPlan,
    predict: Predict,
    control: ControlFeatures | None,
    scales: Sequence[Tensor | None],
    device: torch.device | str | None = None,
    batch: int = 1,
    on_window: Callable[[int], None] | None = None,
    on_step: Callable[[int, Tensor], None] | None = None,
    on_state: Callable[[ClipState], None] | None = None,
) -> Tensor:
    """Turn standard normal noise into clean latents (F,C,H,W), float32.

    start: the noise, or how far an earlier run has come, which is taken over and changed; where
        it lies, the clip's latents lie all along
    scheduler: any of diffusers', with its timesteps set on `device`; not yet stepped, or brought
        to the state's step by `restore_solver`
    control: asked once per frame and step, for the frames that the next window needs; None: none
    scales: guidance of each step, from `guidance.step_scales`
    device: where the networks are; None: where the noise is. Keeping the latents elsewhere makes
        the device's memory independent of the clip's length and waits for it once per window.
    batch: windows that go through the network together
    on_window: called with the number of windows just finished
    on_step: called after each step with its number and the latents, which must not be changed
    on_state: called after each window and after each step with all that it takes to go on from
        there, together with the scheduler; it must be copied or written at once
    """
    state = start if isinstance(start, ClipState) else ClipState.begin(start, scheduler)
    device = state.latents.device if device is None else device
    if not plan.steps == len(scheduler.timesteps) == len(scales):
        raise InternalError(
            f"{plan.steps} planned steps, {len(scheduler.timesteps)} timesteps and "
            f"{len(scales)} guidance scales do not belong together"
        )
    tables = plan_tables(plan, state.latents.device)
    if not len(state.fused):
        state.fused = torch.zeros_like(state.latents)
    while state.step < plan.steps:
        step, timestep = state.step, scheduler.timesteps[state.step]
        windows, table = plan.at(step), tables[step % len(tables)]
        features = _StepFeatures(control, timestep, windows, batch)
        for first in range(state.window, len(windows), batch):
            group = windows[first : first + batch]
            places = range(first, first + len(group))
            samples = [
                scheduler.scale_model_input(state.latents[table.frames[w]], timestep)
                for w in places
            ]
            prediction = predict(
                torch.stack(samples).to(device),
                features.of(places),
                Call(step=step, timestep=timestep, scale=scales[step], windows=group),
            ).to(state.fused.device)
            for row, w in enumerate(places):
                part = prediction[row : row + 1]
                add_window(state.fused[None], part, table.frames[w], table.shares[w])
            state.window = places.stop
            _tell(on_window, len(group))
            if state.window < len(windows):
                _tell(on_state, state)
        # One step for the whole clip: solvers that remember earlier predictions stay right.
        step_clip(scheduler, state, timestep)
        _tell(on_step, step, state.latents)
        _tell(on_state, state)
    return state.latents


def _tell(listener: Callable[..., None] | None, *values: Any) -> None:
    if listener is not None:
        listener(*values)


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
        self._last_use = {f: place for place, w in enumerate(windows) for f in w.control}
        # The frames that are new to each group of windows. A step that is taken up in its midst
        # asks for the same groups again: features computed in other company may differ in rounding.
        self._group_of: dict[int, int] = {}
        self._groups: dict[int, list[int]] = {}
        for place, window in enumerate(windows):
            for frame in sorted(set(window.control) - self._group_of.keys()):
                self._group_of[frame] = place // batch
                self._groups.setdefault(place // batch, []).append(frame)

    def of(self, places: range) -> Tensor | None:
        """Features (W,S,c,h,w) of the windows at these places, asked for in rising order."""
        if self._control is None:
            return None
        wanted = [self._windows[place].control for place in places]
        missing = {f for frames in wanted for f in frames} - self._held.keys()
        for group in sorted({self._group_of[frame] for frame in missing}):
            frames = sorted(self._groups[group])
            self._held.update(zip(frames, self._control(frames, self._timestep), strict=True))
        features = torch.stack([torch.stack([self._held[f] for f in frames]) for frames in wanted])
        self._held = {f: x for f, x in self._held.items() if self._last_use[f] > places[-1]}
        return features
