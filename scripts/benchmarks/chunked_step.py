"""Time of the full-size UNet in pieces against the same step whole, 8 frames of 320x192."""

from __future__ import annotations

from contextlib import ExitStack

import torch

from scripts.benchmarks._networks import filled, guided_inputs, make_unet
from scripts.benchmarks.rows import Row, interleaved
from temporal.chunked import Chunks, chunked
from temporal.constant_attention import constant_cross_attention
from temporal.speed import convolutions_in_2d

# As many pieces as the 24-frame window of 1024x576 is cut into with 4 frames and 2,048 pixels.
CHUNKS = Chunks(frames=2, pixels=240, tokens=1024)


@torch.no_grad()
def run() -> list[Row]:
    unet = filled(make_unet)
    inputs = guided_inputs(frames=8, size=(320, 192), dtype=torch.float32, halves=1)
    results: dict[str, torch.Tensor] = {}

    def whole() -> None:
        results["whole"] = unet(**inputs)[0]

    def pieces() -> None:
        with chunked(unet, CHUNKS):
            results["pieces"] = unet(**inputs)[0]

    with ExitStack() as stack:
        stack.enter_context(constant_cross_attention(unet))
        stack.enter_context(convolutions_in_2d(unet))
        seconds = interleaved({"whole": whole, "pieces": pieces}, repeats=3, warmup=1)
    difference = (results["pieces"] - results["whole"]).abs().max()
    return [
        Row(
            name="step in pieces",
            value=seconds["pieces"],
            unit="s",
            baseline=seconds["whole"],
            note=str(CHUNKS),
        ),
        Row(
            name="difference",
            value=float(difference / results["whole"].abs().max()),
            note="largest, over the largest value",
        ),
    ]
