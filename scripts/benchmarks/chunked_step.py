"""Time of the full-size UNet in pieces against the same step whole: 320x192, then 1024x576.

The second is one guidance half of a 24-frame window in bfloat16, once each way: some minutes and
12 GiB on a CPU.
"""

from __future__ import annotations

from contextlib import ExitStack

import torch

from scripts.benchmarks._networks import filled, guided_inputs, make_unet
from scripts.benchmarks.rows import Row, interleaved
from temporal.chunked import Chunks, chunked
from temporal.constant_attention import constant_cross_attention
from temporal.speed import tuned_for_cpu

LARGE = Chunks(frames=4, pixels=2048, tokens=16384)
# As many pieces as the large picture is cut into.
SMALL = Chunks(frames=2, pixels=240, tokens=1024)


def run() -> list[Row]:
    return [
        *measure("8 frames of 320x192, float32", (320, 192), 8, torch.float32, SMALL, repeats=3),
        *measure("24 frames of 1024x576, bfloat16", (1024, 576), 24, torch.bfloat16, LARGE),
    ]


@torch.no_grad()
def measure(
    name: str,
    size: tuple[int, int],
    frames: int,
    dtype: torch.dtype,
    chunks: Chunks,
    repeats: int = 1,
) -> list[Row]:
    """Time and difference of one call; `size` is (width, height) in pixels."""
    unet = filled(make_unet, dtype)
    inputs = guided_inputs(frames=frames, size=size, dtype=dtype, halves=1)
    results: dict[str, torch.Tensor] = {}

    def undivided() -> None:
        results["whole"] = inputs.predict(unet)

    def pieces() -> None:
        with chunked(unet, chunks):
            results["pieces"] = inputs.predict(unet)

    with ExitStack() as stack:
        stack.enter_context(constant_cross_attention(unet))
        stack.enter_context(tuned_for_cpu(unet, None))
        seconds = interleaved(
            {"whole": undivided, "pieces": pieces}, repeats=repeats, warmup=int(repeats > 1)
        )
    difference = (results["pieces"] - results["whole"]).float().abs().max()
    return [
        Row(
            name=f"{name}: step in pieces",
            value=seconds["pieces"],
            unit="s",
            baseline=seconds["whole"],
            note=str(chunks),
        ),
        Row(
            name=f"{name}: difference",
            value=float(difference / results["whole"].float().abs().max()),
            note="largest, over the largest value",
        ),
    ]
