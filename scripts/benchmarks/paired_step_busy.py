"""The same as `paired_step`, beside a process that keeps a core at work."""

from __future__ import annotations

import gc

import torch

from animate.request.values import Size
from scripts.benchmarks.control_overhead import make_toy_unet
from scripts.benchmarks.denoising_step import FRAMES, SIZE
from scripts.benchmarks.paired_step import ROUNDS, measure
from scripts.benchmarks.rows import Row


def run(toy: bool = False) -> list[Row]:
    """The rows; with `toy`, of a network and a clip that a test can run."""
    if toy:
        return measure(2, Size(64, 64), 1, torch.float32, make_toy_unet, busy=True)
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        rows += measure(FRAMES, SIZE, ROUNDS, dtype, busy=True)
        gc.collect()
    return rows
