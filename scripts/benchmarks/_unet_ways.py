"""Ways to run a guided step of the full-size UNet, timed against stock diffusers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from scripts.benchmarks._networks import filled, guided_inputs, make_unet
from scripts.benchmarks.rows import Row, both_clocks
from temporal.chunked import Chunks, chunked
from temporal.constant_attention import constant_cross_attention
from temporal.speed import (
    CACHED_GATE,
    cached_chunks,
    convolutions_in_2d,
    gates_in_place,
    tuned_for_cpu,
)

FRAMES, SIZE = 8, (320, 192)
GUIDANCE = 3.0


def step(unet: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """What the published loop does in a step, but for the scheduler: both halves, then guidance."""
    blank, known = unet(**inputs)[0].float().chunk(2)
    return blank + GUIDANCE * (known - blank)


@contextmanager
def channels_last(unet: nn.Module) -> Iterator[None]:
    """Kernels of image convolutions lie channels last, and so do the pictures that they give."""
    kernels = [m.weight for m in unet.modules() if isinstance(m, nn.Conv2d)]
    for kernel in kernels:
        kernel.data = kernel.data.contiguous(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for kernel in kernels:
            kernel.data = kernel.data.contiguous()


def _chunks(unet: nn.Module) -> Chunks:
    return cached_chunks(unet, window=FRAMES, pixels=SIZE[0] * SIZE[1] // 64)


def pieces(unet: nn.Module) -> AbstractContextManager[None]:
    """The pieces that the pipeline takes on a CPU."""
    return chunked(unet, _chunks(unet), clamp=True)


@contextmanager
def pipeline(unet: nn.Module) -> Iterator[None]:
    """What `animate.pipeline` does on a CPU."""
    with constant_cross_attention(unet), tuned_for_cpu(unet, _chunks(unet)):
        yield


Context = Callable[[Any], AbstractContextManager[Any]]

SAVINGS: dict[str, Context] = {
    "constant cross-attention": constant_cross_attention,
    "2-D kernels over time": convolutions_in_2d,
    "gates in place": partial(gates_in_place, piece=CACHED_GATE),
    "pieces": pieces,
    "channels last": channels_last,
}
"""What takes less time for the same numbers, or might, one by one."""

Way = tuple[torch.dtype, Context]
"""Precision, and what is on."""


@torch.no_grad()
def measure(ways: dict[str, Way], *, rounds: int) -> list[Row]:
    """Time of a step in each way and how far its result is from the stock step's, in float32."""
    precisions = {torch.float32, *(precision for precision, _ in ways.values())}
    unets = {precision: filled(make_unet, precision) for precision in precisions}
    inputs = {p: guided_inputs(frames=FRAMES, size=SIZE, dtype=p) for p in precisions}
    results: dict[str, torch.Tensor] = {}

    def call(name: str, way: Way) -> None:
        precision, context = way
        with context(unets[precision]):
            results[name] = step(unets[precision], inputs[precision])

    every = {"stock": (torch.float32, nullcontext), **ways}
    calls = {name: partial(call, name, way) for name, way in every.items()}
    seconds = both_clocks(calls, repeats=rounds)
    largest = float(results["stock"].abs().max())
    rows = []
    for name in ways:
        difference = float((results[name] - results["stock"]).abs().max()) / largest
        note = f"differs by {difference:.1e} of the stock float32 result's largest value"
        rows.append(seconds[name].against(seconds["stock"], f"step: {name}", note))
    return rows
