"""What each saving of `unet_step` does alone, in float32; the pipeline takes no channels last."""

from __future__ import annotations

import torch

from scripts.benchmarks._unet_ways import SAVINGS, measure
from scripts.benchmarks.rows import Row


def run() -> list[Row]:
    return measure({name: (torch.float32, context) for name, context in SAVINGS.items()}, rounds=5)
