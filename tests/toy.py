"""A complete model with random weights, small enough to build in a test.

Its sizes follow the bundled model: pictures are 4x smaller as latents of 8 channels, and control
frames meet the UNet's features after the first down block.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from animate.errors import ModelError
from animate.models.components import build_network, save_model
from animate.models.config import ControlNeXtConfig
from animate.models.controlnext import ControlNeXt
from animate.models.variants import ModelVariant
from animate.request.schema import build

UNET: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": 16,
    "out_channels": 8,
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"],
    "block_out_channels": [32, 32],
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 24,
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "num_attention_heads": [2, 2],
    "num_frames": 4,
}
VAE: dict[str, Any] = {
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "block_out_channels": [32, 32, 32],
    "layers_per_block": 1,
    "latent_channels": 8,
    "sample_size": 64,
}
IMAGE_ENCODER: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "projection_dim": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}
CONTROLNEXT: dict[str, Any] = {
    "stem_channels": [8, 16],
    "stem_padding": 1,
    "block_channels": [16, 32],
    "block_groups": [2, 4],
    "mid_groups": 4,
    "out_channels": 32,
    "time_channels": 16,
    "time_embed_dim": 32,
}
SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "interpolation_type": "linear",
    "use_karras_sigmas": True,
    "sigma_min": 0.002,
    "sigma_max": 700.0,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "steps_offset": 1,
}


def toy_variant(**changes: Any) -> ModelVariant:
    """The variant of the toy model, with some top-level settings of its YAML changed."""
    own = {"weights": ["model.safetensors"], "config": "config.json"}
    values = {
        "name": "toy",
        "summary": "Random weights in the bundled model's layout",
        "licence": "Apache-2.0",
        "sizes": ["64x64"],
        "size_multiple": 8,
        "sampling": {
            "steps": 2,
            "window": 4,
            "overlap": 1,
            "guidance": "1",
            "schedule": "static",
            "fusing": "overlap-linear",
            "decode_chunk": 4,
        },
        "micro_conditions": {"fps": 6, "motion_bucket": 128, "noise_augmentation": 0.02},
        "injection": {"hook_point": "down", "weight": 1.0},
        "controlnext": CONTROLNEXT,
        "channels_per_group": 8,
        "feature_mean": [0.5, 0.5, 0.5],
        "feature_std": [0.5, 0.5, 0.5],
        "scheduler": SCHEDULER,
        "components": dict.fromkeys(("unet", "vae", "image_encoder", "controlnext"), own),
    }
    return build(ModelVariant, {**values, **changes}, "toy", ModelError)


def toy_networks(seed: int = 0, **sizes: Any) -> dict[str, nn.Module]:
    """The four networks with random weights; `sizes` changes those of the control network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {
            "unet": build_network("unet", UNET),
            "vae": build_network("vae", VAE),
            "image_encoder": build_network("image_encoder", IMAGE_ENCODER),
            "controlnext": ControlNeXt(build(ControlNeXtConfig, {**CONTROLNEXT, **sizes}, "toy")),
        }


def toy_model(folder: Path | str, seed: int = 0) -> ModelVariant:
    """Write a complete toy model to the new `folder`; returns its variant."""
    return save_model(folder, toy_variant(), toy_networks(seed))
