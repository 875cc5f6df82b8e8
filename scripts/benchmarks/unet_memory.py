"""Tracked peak of one guided UNet step, 24 frames of 1024x576 in float16; takes minutes."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch

from scripts.benchmarks._networks import guided_inputs, make_unet, weight_size
from scripts.benchmarks._tracking import build_fake, tracked_peak
from scripts.benchmarks.rows import Row
from temporal.chunked import Chunks, chunked
from temporal.constant_attention import constant_cross_attention
from temporal.estimate import unet_peak
from temporal.offload import offloaded

GIB = 2**30
FRAMES, SIZE = 24, (1024, 576)
CHUNKS = Chunks(frames=4, pixels=2048, tokens=16384)


def _step(unet: Any, halves: int) -> None:
    """One guided step: both halves in one call, or one after the other."""
    results = []
    for _ in range(1 if halves == 2 else 2):
        inputs = guided_inputs(frames=FRAMES, size=SIZE, dtype=torch.float16, halves=halves)
        results += list(inputs.predict(unet))
        del inputs
    blank, known = results
    blank + 3.0 * (known - blank)


def run() -> list[Row]:
    mode, unet = build_fake(make_unet, torch.float16)
    weights = weight_size(unet)
    with mode:
        stock = tracked_peak([unet], lambda: _step(unet, halves=2))
        with ExitStack() as stack:
            stack.enter_context(constant_cross_attention(unet))
            stack.enter_context(chunked(unet, CHUNKS))
            pieces = tracked_peak([unet], lambda: _step(unet, halves=1))
            stack.enter_context(offloaded(unet, "cpu", "stream"))
            # The tracker counts the weights at home on the host, too; they are not on the device.
            streamed = tracked_peak([unet], lambda: _step(unet, halves=1)) - weights
    predicted = weights + unet_peak(
        unet.config, size=(128, 72), frames=FRAMES, batch=1, chunks=CHUNKS, element=2
    )
    sizes = f"halves in turn, {CHUNKS.frames} frames, {CHUNKS.pixels} pixels at a time"
    return [
        _row("weights", weights, None, "float16"),
        _row("in pieces", pieces, stock, sizes),
        _row("in pieces, streamed", streamed, stock, "one block's weights at a time"),
        _row("in pieces, predicted", predicted, pieces, "by the planner; baseline: tracked"),
    ]


def _row(name: str, size: float, baseline: float | None, note: str) -> Row:
    return Row(
        name=name,
        value=size / GIB,
        unit="GiB",
        baseline=None if baseline is None else baseline / GIB,
        note=note,
    )
