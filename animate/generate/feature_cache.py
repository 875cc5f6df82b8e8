"""Fewer blocks per step: deep features kept from one step to the next, window by window.

Neighbouring steps give nearly the same features deep in the UNet (DeepCache, Ma et al.,
arXiv 2312.00858). With `every` = k each window runs the whole UNet at one step in k and only its
first and last block at the others. This changes the result; it is off unless asked for. Control
goes in before what is kept, at either place, so it acts at the full steps only.

The features kept grow with the clip: one map at the last block's input per frame and guidance
half.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from animate.errors import RequestError
from animate.generate.clip_state import ClipState
from animate.generate.denoise import Call, Predict
from temporal.windows import WindowPlan
from temporal.wrapping import override_forward


class _DeepFeatures:
    """What the blocks between the first and the last gave, by window and guidance half."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._kept: dict[Hashable, tuple[int, Tensor, list[tuple[Tensor, ...]]]] = {}
        self._step, self._calls = 0, 0
        self._windows: Hashable = ()
        self._key: Hashable = ()
        self.reuse = False
        self.skips: list[tuple[Tensor, ...]] = []

    def enter(self, call: Call) -> None:
        """Say what the next calls of the UNet are about."""
        if call.step != self._step:  # what no later step may use goes: guidance has ended, say
            young = {k: v for k, v in self._kept.items() if call.step - v[0] < self._every}
            self._kept = young
        self._step, self._calls = call.step, 0
        self._windows = (*(window.frames for window in call.windows), call.scale is None)

    def begin(self) -> None:
        """The UNet has reached its second block."""
        self._key = (self._windows, self._calls)  # guidance in turn calls it twice
        self._calls += 1
        step = self._kept[self._key][0] if self._key in self._kept else None
        self.reuse = step is not None and self._step - step < self._every
        self.skips = self._kept[self._key][2] if self.reuse else []

    def useful(self, step: int) -> bool:
        """Whether anything kept is young enough for that step."""
        return any(step - kept < self._every for kept, _, _ in self._kept.values())

    def output(self, compute: Callable[[], Tensor]) -> Tensor:
        """The last block's input: what was kept, or computed now and kept."""
        if not self.reuse:
            self._kept[self._key] = (self._step, compute(), self.skips)
        return self._kept[self._key][1]


@contextmanager
def cached_features(
    unet: Any, predict: Predict, plan: WindowPlan, *, every: int
) -> Iterator[Predict]:
    """A `Predict` that runs the whole UNet at one step in `every` only; the UNet is restored.

    unet: the network that `predict` calls
    every: at least 1; 1 changes nothing
    Raises RequestError for other values, for a UNet of fewer than two scales, and for windows that
    move from step to step, since features belong to a window.
    """
    if every < 1:
        raise RequestError(f"features cannot be kept for {every} steps; the fewest is 1 (none)")
    if len(plan.cycle) > 1:
        raise RequestError(
            f"features are kept by window, but those of the {plan.schedule} schedule move at every "
            "step; use the static or the anchored schedule"
        )
    if len(unet.down_blocks) < 2 or len(unet.up_blocks) < 2:
        raise RequestError("this UNet has a single scale: there are no deep features to keep")
    deep = _DeepFeatures(every)
    with ExitStack() as stack:
        for place, block in enumerate(unet.down_blocks[1:]):
            override_forward(stack, block, _down(deep, block.forward, place))
        for block in (unet.mid_block, *unet.up_blocks[:-2]):
            override_forward(stack, block, _inner(deep, block.forward))
        last = unet.up_blocks[-2]
        override_forward(stack, last, _last(deep, last.forward))

        yield _Cached(deep, predict, plan.steps)


class _Cached:
    """A `Predict` that remembers; `resumable` says when forgetting it would change nothing."""

    def __init__(self, deep: _DeepFeatures, predict: Predict, steps: int) -> None:
        self._deep, self._predict, self._steps = deep, predict, steps

    def __call__(self, sample_WSCHW: Tensor, control: Tensor | None, call: Call) -> Tensor:
        self._deep.enter(call)
        return self._predict(sample_WSCHW, control, call)

    def resumable(self, state: ClipState) -> bool:
        """Whether nothing that is kept would be used from this state on."""
        return state.step == self._steps or not (state.window or self._deep.useful(state.step))


def _down(deep: _DeepFeatures, compute: Callable[..., Any], place: int) -> Callable[..., Any]:
    def forward(hidden_states: Tensor, **kwargs: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        if place == 0:
            deep.begin()
        if deep.reuse:
            return hidden_states, deep.skips[place]
        output, skips = compute(hidden_states=hidden_states, **kwargs)
        # The blocks that would take them are left out too: the UNet only asks for their shapes.
        deep.skips.append(tuple(torch.empty_like(skip, device="meta") for skip in skips))
        return output, skips

    return forward


def _inner(deep: _DeepFeatures, compute: Callable[..., Any]) -> Callable[..., Any]:
    def forward(hidden_states: Tensor, **kwargs: Any) -> Tensor:
        return hidden_states if deep.reuse else compute(hidden_states=hidden_states, **kwargs)

    return forward


def _last(deep: _DeepFeatures, compute: Callable[..., Any]) -> Callable[..., Any]:
    def forward(hidden_states: Tensor, **kwargs: Any) -> Tensor:
        return deep.output(lambda: compute(hidden_states=hidden_states, **kwargs))

    return forward
