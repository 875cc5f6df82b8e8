"""Effect of each of the pipeline's savings on a guided step of the full-size UNet on a CPU.

Against the stock UNet in the same precision, 8 frames of 320x192. Work that a saving does once for
a clip is not timed, but for constant cross-attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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
    channels_last,
    convolutions_in_2d,
    gates_in_place,
    tuned_for_cpu,
)

FRAMES, SIZE = 8, (320, 192)
ROUNDS = 5


def run() -> list[Row]:
    return [*measure(torch.float32), *measure(torch.bfloat16)]


def _chunks(unet: nn.Module) -> Chunks:
    return cached_chunks(unet, window=FRAMES, pixels=SIZE[0] * SIZE[1] // 64)


def pieces(unet: nn.Module) -> AbstractContextManager[None]:
    """The pieces that the pipeline takes on a CPU."""
    return chunked(unet, _chunks(unet), clamp=True)


@contextmanager
def together(unet: nn.Module) -> Iterator[None]:
    """The UNet as `animate.generate.pipeline` sets it up on a CPU, without channels last."""
    with constant_cross_attention(unet), tuned_for_cpu(unet, _chunks(unet)):
        yield


SAVINGS: dict[str, Callable[[Any], AbstractContextManager[Any]]] = {
    "together": together,
    "constant cross-attention": constant_cross_attention,
    "2-D kernels over time": convolutions_in_2d,
    "gates in place": partial(gates_in_place, piece=CACHED_GATE),
    "pieces": pieces,
    "channels last": channels_last,
}


@torch.no_grad()
def measure(precision: torch.dtype) -> list[Row]:
    """Time of a call with each saving and how far its result is from the stock one."""
    unet = filled(make_unet, precision)
    inputs = guided_inputs(frames=FRAMES, size=SIZE, dtype=precision)
    results: dict[str, torch.Tensor] = {}

    def call(name: str) -> None:
        results[name] = inputs.predict(unet).float()

    names = ("stock", *SAVINGS)
    seconds = both_clocks(
        {name: partial(call, name) for name in names},
        repeats=ROUNDS,
        within={name: partial(saving, unet) for name, saving in SAVINGS.items()},
    )
    largest = float(results["stock"].abs().max())
    rows = []
    for name in SAVINGS:
        difference = float((results[name] - results["stock"]).abs().max()) / largest
        note = f"differs by {difference:.1e} of the stock result's largest value"
        title = f"{str(precision).removeprefix('torch.')}, {name}"
        rows.append(seconds[name].against(seconds["stock"], title, note))
    return rows
