"""The denoising networks at the sizes of a recipe, one call of them in training, and its loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from animate.models.components import regroup
from animate.models.controlnext import ControlNeXt
from scripts.tiny.recipe import NetworkRecipe, TrainingConfig

FEATURE_MEAN = (0.5, 0.5, 0.5)
FEATURE_STD = (0.5, 0.5, 0.5)
# The window that positions of frames are embedded for.
WINDOW = 8


def make_unet(recipe: NetworkRecipe, latents: int) -> Any:
    """A stock UNet; attention everywhere but at the finest level."""
    from diffusers import UNetSpatioTemporalConditionModel

    deeper = len(recipe.channels) - 1
    unet: Any = UNetSpatioTemporalConditionModel(
        sample_size=24,
        in_channels=2 * latents,
        out_channels=latents,
        down_block_types=(
            "DownBlockSpatioTemporal",
            *("CrossAttnDownBlockSpatioTemporal",) * deeper,
        ),
        up_block_types=(*("CrossAttnUpBlockSpatioTemporal",) * deeper, "UpBlockSpatioTemporal"),
        block_out_channels=recipe.channels,
        addition_time_embed_dim=recipe.time_width,
        projection_class_embeddings_input_dim=3 * recipe.time_width,
        layers_per_block=recipe.layers,
        cross_attention_dim=recipe.context,
        num_attention_heads=recipe.heads,
        num_frames=WINDOW,
    )
    regroup(unet, recipe.channels_per_group)
    return unet


def make_image_encoder(recipe: NetworkRecipe) -> Any:
    """A small CLIP vision tower."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=recipe.encoder_width,
            intermediate_size=2 * recipe.encoder_width,
            projection_dim=recipe.context,
            num_hidden_layers=recipe.encoder_layers,
            num_attention_heads=4,
            image_size=recipe.encoder_size,
            patch_size=recipe.encoder_patch,
        )
    )


def make_networks(config: TrainingConfig) -> nn.ModuleDict:
    """`unet`, `controlnext` and `image_encoder`, initialised from the recipe's seed."""
    torch.manual_seed(config.seed)
    recipe, autoencoder = config.networks, config.autoencoder
    assert recipe is not None, "the recipe starts from a model's networks"
    assert autoencoder is not None, "the recipe starts from a model's autoencoder"
    return nn.ModuleDict(
        {
            "unet": make_unet(recipe, autoencoder.latents),
            "controlnext": ControlNeXt(recipe.controlnext),
            "image_encoder": make_image_encoder(recipe),
        }
    )
