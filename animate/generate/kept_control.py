"""Control features kept from one call of the network to the next, frame by frame.

The control network sees a skeleton and the noise level; the skeleton stays, so its features at
neighbouring levels are alike. With `every` = k they are computed at one call in k. This changes the
result; it is off unless asked for.

The features kept grow with the clip: one map a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from animate.errors import RequestError
from animate.generate.clip_state import ClipState
from animate.generate.denoise import ControlFeatures, Networks
from temporal.windows import WindowPlan


class KeptControl:
    """A `ControlFeatures` that computes a frame's features when it is asked for the first time, and
    at every `every`-th time from then on."""

    def __init__(self, compute: ControlFeatures, every: int) -> None:
        self._compute, self._every = compute, every
        self._features: dict[int, Tensor] = {}
        self._uses: dict[int, int] = {}

    def __call__(self, frames: Sequence[int], timestep: Tensor) -> Tensor:
        stale = [frame for frame in frames if self._uses.get(frame, 0) % self._every == 0]
        if stale:
            self._features.update(zip(stale, self._compute(stale, timestep), strict=True))
        for frame in frames:
            self._uses[frame] = self._uses.get(frame, 0) + 1
        return torch.stack([self._features[frame] for frame in frames])


def with_kept_control(networks: Networks, plan: WindowPlan, *, every: int) -> Networks:
    """Networks whose control features are computed at one call of a frame in `every`.

    Raises RequestError for networks that leave control to others, as workers do.
    """
    if networks.control is None:
        raise RequestError(f"control cannot be kept for {every} calls: it is not computed here")

    def resumable(state: ClipState) -> bool:
        """True where all features would be computed anew, whether or not any are kept."""
        anew = not state.window and state.step % every == 0
        return state.step == plan.steps or (anew and networks.resumable(state))

    return replace(networks, control=KeptControl(networks.control, every), resumable=resumable)
