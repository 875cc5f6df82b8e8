"""The same as `paired_step`, with weights packed for the processor (`--pack-weights`)."""

from __future__ import annotations

import torch

from animate.request.values import Size
from scripts.benchmarks.control_overhead import make_toy_unet
from scripts.benchmarks.denoising_step import FRAMES, SIZE
from scripts.benchmarks.paired_step import ROUNDS, measure
from scripts.benchmarks.rows import Row


def run(toy: bool = False) -> list[Row]:
    """The rows; with `toy`, of a network and a clip that a test can run."""
    if toy:
        return measure(2, Size(64, 64), 1, torch.float32, make_toy_unet, packed=True)
    return measure(FRAMES, SIZE, ROUNDS, torch.float32, packed=True)
