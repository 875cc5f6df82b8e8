"""State of the denoising loop: all that it takes to go on, to step a long clip, and to keep.

Shapes: F frames of the clip, C H W a latent.

A scheduler's step needs several times the memory of what it steps. Its arithmetic is the same for
every frame, so a long clip goes through it some frames at a time, with the same numbers; what a
solver remembers of earlier predictions is taken apart and put together again.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

_STEP_BYTES = 4 << 20
"""Bytes of latents that go through the scheduler together."""


@dataclass(kw_only=True)
class ClipState:
    """The clip between two calls of the network. The loop changes it in place."""

    step: int
    """Step that comes next, or that is under way."""
    window: int
    """Windows of that step whose predictions are in `fused`."""
    latents: Tensor
    """(F,C,H,W) float32, as they are before that step."""
    fused: Tensor
    """(F,C,H,W) float32, the predictions fused so far, zero where window is 0; or of no frame,
    until the loop needs it: by then the noise may have gone."""

    @classmethod
    def begin(cls, noise_FCHW: Tensor, scheduler: Any) -> ClipState:
        """The state before the first step, from standard normal noise, which stays as it is."""
        latents = noise_FCHW.float() * scheduler.init_noise_sigma
        return cls(step=0, window=0, latents=latents, fused=latents[:0])

    def restart_step(self) -> None:
        """Forget the windows of the step that is under way."""
        self.window = 0
        self.fused.zero_()


class Keeper(Protocol):
    """Keeps the pipeline's work, and gives back an earlier run's."""

    def state(self, scheduler: Any) -> ClipState | None:
        """The newest state kept, with `scheduler` (new, of the same settings) brought there."""

    def offer_state(self, state: ClipState, scheduler: Any) -> None:
        """Take the clip between two calls of the network; it is kept when it is time."""

    def frames(self) -> Iterator[np.ndarray]:
        """Pictures (F,H,W,3) uint8 RGB decoded by an earlier run, from the first frame on."""

    def offer_frames(self, pictures: np.ndarray) -> None:
        """Take the next decoded pictures (F,H,W,3) uint8 RGB; they are kept when it is time."""


class KeepsNothing:
    """The `Keeper` of a run without a work folder."""

    def state(self, scheduler: Any) -> ClipState | None:
        """None."""
        return None

    def offer_state(self, state: ClipState, scheduler: Any) -> None:
        """Keep nothing."""

    def frames(self) -> Iterator[np.ndarray]:
        """None."""
        return iter(())

    def offer_frames(self, pictures: np.ndarray) -> None:
        """Keep nothing."""


def step_clip(
    scheduler: Any, state: ClipState, timestep: Tensor, step_bytes: int = _STEP_BYTES
) -> None:
    """One step of the scheduler for the whole clip, in place; `state` is then before the next.

    step_bytes: of latents that are stepped together; what else a step needs is a few times that
    """
    frames = len(state.latents)
    frame_bytes = state.latents[0].numel() * state.latents.element_size()
    together = max(1, step_bytes // frame_bytes)
    if together >= frames:
        state.latents = scheduler.step(state.fused, timestep, state.latents).prev_sample
        state.fused = torch.zeros_like(state.latents)  # a solver may remember the other
    else:
        _step_in_parts(scheduler, state, timestep, together)
        state.fused.zero_()
    state.step, state.window = state.step + 1, 0


def _step_in_parts(scheduler: Any, state: ClipState, timestep: Tensor, together: int) -> None:
    shape = state.latents.shape
    before = dict(_memory(scheduler, shape))
    after: dict[str, Tensor] = {}
    part = scheduler
    for first in range(0, len(state.latents), together):
        frames_slice = slice(first, first + together)
        part = _copied(scheduler)
        for name, tensor in before.items():
            _restore(part, name, tensor[frames_slice])
        latents = part.step(
            state.fused[frames_slice], timestep, state.latents[frames_slice]
        ).prev_sample
        # Copies: what is remembered may be a view of what is about to be overwritten.
        copies = {name: x.clone() for name, x in _memory(part, latents.shape)}
        for name, values in copies.items():
            tensor = after.setdefault(name, before.get(name, state.latents[:0]))
            if not len(tensor):
                tensor = after[name] = torch.empty_like(state.latents)
            tensor[frames_slice] = values
        state.latents[frames_slice] = latents
    vars(scheduler).update(vars(part))
    for name, tensor in after.items():
        _restore(scheduler, name, tensor)


def _memory(scheduler: Any, shape: torch.Size) -> Iterator[tuple[str, Tensor]]:
    """Tensors of latents of that shape in a scheduler, by the attribute's name and index."""
    for name, value in vars(scheduler).items():
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(item, Tensor) and item.ndim == len(shape) and item.shape == shape:
                yield f"{name}.{index}" if isinstance(value, list) else name, item


def _copied(scheduler: Any) -> Any:
    copied = copy.copy(scheduler)
    for name, value in vars(copied).items():
        if isinstance(value, list):
            setattr(copied, name, list(value))
    return copied


def _restore(scheduler: Any, name: str, value: Any) -> None:
    attribute, _, index = name.partition(".")
    if index:
        getattr(scheduler, attribute)[int(index)] = value
    else:
        setattr(scheduler, attribute, value)


Plain = bool | int | float | None
"""Values of a scheduler that are no tensors."""


def solver_state(scheduler: Any) -> tuple[dict[str, Tensor], dict[str, Plain]]:
    """Tensors and plain values of a scheduler that its steps may have changed.

    All of its attributes but its configuration, by name, items of a list as `name.index`.
    """
    tensors: dict[str, Tensor] = {}
    values: dict[str, Plain] = {}
    for name, value in vars(scheduler).items():
        items = value if isinstance(value, list) else [value]
        for index, item in enumerate(items):
            key = f"{name}.{index}" if isinstance(value, list) else name
            if isinstance(item, Tensor):
                tensors[key] = item
            elif item is None or isinstance(item, (bool, int, float)):
                values[key] = item
    return tensors, values


def restore_solver(
    scheduler: Any, tensors: Mapping[str, Tensor], values: Mapping[str, Any]
) -> None:
    """Bring a new scheduler of the same settings to where `solver_state` found another."""
    for name, value in values.items():
        _restore(scheduler, name, value)
    for name, tensor in tensors.items():
        existing = vars(scheduler).get(name)
        where = existing.device if isinstance(existing, Tensor) else tensor.device
        _restore(scheduler, name, tensor.to(where))
