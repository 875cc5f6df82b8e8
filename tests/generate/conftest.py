"""A small stock UNet with random weights, and what conditions it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from animate.generate.conditioning import Conditioning
from tests.temporal.networks import randomise


@pytest.fixture(scope="module")
def unet() -> Any:
    """Three scales, 32 channels on the outer ones."""
    from diffusers import UNetSpatioTemporalConditionModel

    network = UNetSpatioTemporalConditionModel(
        down_block_types=(
            "CrossAttnDownBlockSpatioTemporal",
            "CrossAttnDownBlockSpatioTemporal",
            "DownBlockSpatioTemporal",
        ),
        up_block_types=(
            "UpBlockSpatioTemporal",
            "CrossAttnUpBlockSpatioTemporal",
            "CrossAttnUpBlockSpatioTemporal",
        ),
        block_out_channels=(32, 32, 64),
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24,
        layers_per_block=1,
        cross_attention_dim=16,
        num_attention_heads=(2, 2, 4),
        num_frames=5,
    )
    return randomise(network)


@pytest.fixture(scope="module")
def conditioning() -> Conditioning:
    generator = torch.Generator().manual_seed(2)
    return Conditioning(
        embedding=torch.randn(1, 1, 16, generator=generator),
        latents=torch.randn(1, 4, 10, 6, generator=generator),
        micro=torch.tensor([[6.0, 128.0, 0.02]]),
    )
