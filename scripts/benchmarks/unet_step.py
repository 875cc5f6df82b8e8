"""Time of one guided step of the full-size UNet against stock diffusers, 8 frames of 320x192."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch

from scripts.benchmarks._networks import filled, guided_inputs, make_unet
from scripts.benchmarks.rows import Row, interleaved
from temporal.chunked import Chunks, chunked
from temporal.constant_attention import constant_cross_attention
from temporal.speed import channels_last, convolutions_in_2d, gates_in_place

FRAMES, SIZE = 8, (320, 192)
GUIDANCE = 3.0


def step(unet: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """What the published loop does in a step, but for the scheduler: both halves, then guidance."""
    blank, known = unet(**inputs)[0].float().chunk(2)
    return blank + GUIDANCE * (known - blank)


def _exact(unet: Any, stack: ExitStack) -> None:
    stack.enter_context(constant_cross_attention(unet))
    stack.enter_context(convolutions_in_2d(unet))
    stack.enter_context(gates_in_place(unet, tokens=512))


@torch.no_grad()
def run() -> list[Row]:
    wide, half = filled(make_unet), filled(make_unet, torch.bfloat16)
    inputs = guided_inputs(frames=FRAMES, size=SIZE, dtype=torch.float32)
    half_inputs = guided_inputs(frames=FRAMES, size=SIZE, dtype=torch.bfloat16)
    results: dict[str, torch.Tensor] = {}

    def stock() -> None:
        results["stock"] = step(wide, inputs)

    def exact() -> None:
        with ExitStack() as stack:
            _exact(wide, stack)
            # Pieces that fit a CPU's caches.
            stack.enter_context(chunked(wide, Chunks(frames=2, pixels=240)))
            results["exact"] = step(wide, inputs)

    def bfloat16() -> None:
        with ExitStack() as stack:
            _exact(half, stack)
            stack.enter_context(channels_last(half))
            results["bfloat16"] = step(half, half_inputs)

    calls = {"stock": stock, "exact": exact, "bfloat16": bfloat16}
    seconds = interleaved(calls, repeats=3, warmup=1)
    largest = float(results["stock"].abs().max())
    rows = []
    for name, note in (
        (
            "exact",
            "float32; constant cross-attention, 2-D kernels over time, gates in place, pieces",
        ),
        ("bfloat16", "bfloat16; the same whole, channels last"),
    ):
        difference = float((results[name] - results["stock"]).abs().max()) / largest
        rows.append(
            Row(
                name=f"step, {name}",
                value=seconds[name],
                unit="s",
                baseline=seconds["stock"],
                note=note,
            )
        )
        rows.append(
            Row(
                name=f"difference, {name}",
                value=difference,
                note="largest, over the largest value of the stock float32 result",
            )
        )
    return rows
