"""Small random networks of the real classes, one of each for a file's tests."""

from __future__ import annotations

from typing import Any

import pytest

from tests.temporal.networks import randomise


@pytest.fixture(scope="module")
def unet() -> Any:
    """A UNet with every kind of block and both kinds of transformer, 0.6 M parameters."""
    from diffusers import UNetSpatioTemporalConditionModel

    network = UNetSpatioTemporalConditionModel(
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        block_out_channels=(32, 64),
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24,
        layers_per_block=1,
        cross_attention_dim=16,
        num_attention_heads=(2, 4),
        num_frames=5,
    )
    return randomise(network)


@pytest.fixture(scope="module")
def vae() -> Any:
    """A video autoencoder with two scales, mixing factors away from their initial half."""
    from diffusers import AutoencoderKLTemporalDecoder

    network = AutoencoderKLTemporalDecoder(
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        block_out_channels=(32, 64),
        layers_per_block=1,
        latent_channels=4,
    )
    return randomise(network, seed=1)
