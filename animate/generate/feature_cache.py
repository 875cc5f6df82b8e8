"""Fewer blocks per step: deep features kept from one step to the next, window by window.

Neighbouring steps give nearly the same features deep in the UNet (DeepCache, Ma et al.,
arXiv 2312.00858). With `every` = k each window runs the whole UNet at one step in k and only its
first and last block at the others. This changes the result; it is off unless asked for. Control
goes in before what is kept, at either hook point, so it acts at the full steps only.

The features kept grow with the clip: one map at the last block's input per frame and guidance
half.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from animate.errors import RequestError
from animate.generate.clip_state import ClipState
from animate.generate.denoise import Call, Networks
from temporal.windows import WindowPlan
from temporal.wrapping import override_forward


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """Features of one window and guidance half."""

    step: int
    """Step that computed them."""
    features: Tensor
    """Input of the last block."""
    skips: list[tuple[Tensor, ...]]
    """Skip tensors of the blocks that are left out: their shapes alone."""


class DeepFeatures:
    """Results of the blocks between the first and the last, by window and guidance half."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._entries: dict[Hashable, _Entry] = {}
        self._step, self._calls = 0, 0
        self._windows: Hashable = ()
        self._key: Hashable = ()
        self.reuse = False
        self.skips: list[tuple[Tensor, ...]] = []

    @property
    def held(self) -> int:
        """Number of feature maps."""
        return len(self._entries)

    def enter(self, call: Call) -> None:
        """Say which windows the next calls of the UNet are for."""
        if call.step != self._step:  # what no later step may use goes: guidance has ended, say
            self._entries = {k: e for k, e in self._entries.items() if self._young(e, call.step)}
        self._step, self._calls = call.step, 0
        self._windows = (*(window.frames for window in call.windows), call.scale is None)

    def begin(self) -> None:
        """The UNet has reached its second block."""
        self._key = (self._windows, self._calls)  # guidance in turn calls it twice
        self._calls += 1
        entry = self._entries.get(self._key)
        self.reuse = entry is not None and self._young(entry, self._step)
        self.skips = entry.skips if entry is not None and self.reuse else []

    def useful(self, step: int) -> bool:
        """True if anything is young enough for that step."""
        return any(self._young(entry, step) for entry in self._entries.values())

    def output(self, compute: Callable[[], Tensor]) -> Tensor:
        """The last block's input: from an earlier step, or computed now and kept."""
        if not self.reuse:
            self._entries[self._key] = _Entry(step=self._step, features=compute(), skips=self.skips)
        return self._entries[self._key].features

    def _young(self, entry: _Entry, step: int) -> bool:
        return step - entry.step < self._every


@contextmanager
def cached_features(
    unet: Any, networks: Networks, plan: WindowPlan, *, every: int
) -> Iterator[Networks]:
    """Networks that run the whole UNet at one step in `every` only; the UNet is restored.

    unet: the network that `networks.predict` calls
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
    deep = DeepFeatures(every)

    def predict(sample_WSCHW: Tensor, control: Tensor | None, call: Call) -> Tensor:
        deep.enter(call)
        return networks.predict(sample_WSCHW, control, call)

    def resumable(state: ClipState) -> bool:
        """True where no features that are kept would be used from this state on."""
        return state.step == plan.steps or not (state.window or deep.useful(state.step))

    with ExitStack() as stack:
        for index, block in enumerate(unet.down_blocks[1:]):
            override_forward(stack, block, _down(deep, block.forward, index))
        for block in (unet.mid_block, *unet.up_blocks[:-2]):
            override_forward(stack, block, _inner(deep, block.forward))
        last = unet.up_blocks[-2]
        override_forward(stack, last, _last(deep, last.forward))
        yield replace(networks, predict=predict, resumable=resumable)


def _down(deep: DeepFeatures, compute: Callable[..., Any], index: int) -> Callable[..., Any]:
    def forward(hidden_states: Tensor, **kwargs: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        if index == 0:
            deep.begin()
        if deep.reuse:
            skips = deep.skips[index]
            # Nothing reads these values, but control that enters deeper needs their shape.
            return hidden_states.new_zeros(1).expand(skips[-1].shape), skips
        output, skips = compute(hidden_states=hidden_states, **kwargs)
        # The blocks that would take them are left out too: the UNet only asks for their shapes.
        deep.skips.append(tuple(torch.empty_like(skip, device="meta") for skip in skips))
        return output, skips

    return forward


def _inner(deep: DeepFeatures, compute: Callable[..., Any]) -> Callable[..., Any]:
    def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        # Some UNets pass the time embedding by its place.
        return hidden_states if deep.reuse else compute(hidden_states, *args, **kwargs)

    return forward


def _last(deep: DeepFeatures, compute: Callable[..., Any]) -> Callable[..., Any]:
    def forward(hidden_states: Tensor, **kwargs: Any) -> Tensor:
        return deep.output(lambda: compute(hidden_states=hidden_states, **kwargs))

    return forward
