"""Time of one guided step of the full-size UNet against stock diffusers, 8 frames of 320x192."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from scripts.benchmarks._networks import filled, guided_inputs, make_unet
from scripts.benchmarks.rows import Row, interleaved
from temporal.chunked import chunked
from temporal.constant_attention import constant_cross_attention
from temporal.speed import CACHED_GATE, cached_chunks, convolutions_in_2d, gates_in_place

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


def pieces(unet: nn.Module) -> AbstractContextManager[None]:
    """The pieces that the pipeline takes on a CPU."""
    chunks = cached_chunks(unet, window=FRAMES, pixels=SIZE[0] * SIZE[1] // 64)
    return chunked(unet, chunks, clamp=True)


Context = Callable[[Any], AbstractContextManager[Any]]

ALONE: dict[str, Context] = {
    "constant cross-attention": constant_cross_attention,
    "2-D kernels over time": convolutions_in_2d,
    "gates in place": partial(gates_in_place, piece=CACHED_GATE),
    "pieces": pieces,
    "channels last": channels_last,
}
"""What takes less time for the same numbers, or might, one by one."""
PIPELINE = ["constant cross-attention", "pieces", "2-D kernels over time", "gates in place"]
"""What `animate.pipeline` does on a CPU: all of it but for channels last."""
TOGETHER: dict[str, tuple[torch.dtype, list[str]]] = {
    "float32": (torch.float32, PIPELINE),
    "bfloat16": (torch.bfloat16, PIPELINE),
}


@torch.no_grad()
def run() -> list[Row]:
    unets = {dtype: filled(make_unet, dtype) for dtype in (torch.float32, torch.bfloat16)}
    inputs = {dtype: guided_inputs(frames=FRAMES, size=SIZE, dtype=dtype) for dtype in unets}
    ways: dict[str, tuple[torch.dtype, list[str]]] = {
        "stock": (torch.float32, []),
        **{name: (torch.float32, [name]) for name in ALONE},
        **TOGETHER,
    }
    results: dict[str, torch.Tensor] = {}

    def call(way: str) -> None:
        dtype, parts = ways[way]
        with ExitStack() as stack:
            for part in parts:
                stack.enter_context(ALONE[part](unets[dtype]))
            results[way] = step(unets[dtype], inputs[dtype])

    calls = {way: partial(call, way) for way in ways}
    seconds = interleaved(calls, repeats=3, warmup=1)
    largest = float(results["stock"].abs().max())
    rows = []
    for way in [*TOGETHER, *ALONE]:
        difference = float((results[way] - results["stock"]).abs().max()) / largest
        rows.append(
            Row(
                name=f"step: {way}",
                value=seconds[way],
                unit="s",
                baseline=seconds["stock"],
                note=f"differs by {difference:.1e} of the stock float32 result's largest value"
                + ("; as the pipeline" if way in TOGETHER else "; alone"),
            )
        )
    return rows
