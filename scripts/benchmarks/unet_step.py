"""Time of one guided step of the full-size UNet against stock diffusers, 8 frames of 320x192."""

from __future__ import annotations

import torch

from scripts.benchmarks._unet_ways import measure, pipeline
from scripts.benchmarks.rows import Row


def run() -> list[Row]:
    return measure(
        {"float32": (torch.float32, pipeline), "bfloat16": (torch.bfloat16, pipeline)}, rounds=9
    )
