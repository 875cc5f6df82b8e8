"""The denoising networks at the sizes of a recipe, one call of them in training, and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from animate.generate.conditioning import embed_image
from animate.models.components import regroup
from animate.models.controlnext import ControlNeXt
from animate.models.injection import ControlPort
from animate.training.config import NetworkRecipe, TrainingConfig
from animate.training.objective import Draws, precondition, weighted_loss

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
    recipe = config.networks
    return nn.ModuleDict(
        {
            "unet": make_unet(recipe, config.autoencoder.latents),
            "controlnext": ControlNeXt(recipe.controlnext),
            "image_encoder": make_image_encoder(recipe),
        }
    )


def predict(
    networks: Any,
    port: ControlPort,
    *,
    scaled_BFCHW: Tensor,
    timestep_B: Tensor,
    reference_B3HW: Tensor,
    reference_latents_BCHW: Tensor,
    control_BF3HW: Tensor,
    keep_B: Tensor,
    micro: tuple[float, float, float],
    feature_mean: Sequence[float] = FEATURE_MEAN,
    feature_std: Sequence[float] = FEATURE_STD,
) -> Tensor:
    """The UNet's prediction (B,F,C,h,w) as inference calls it; `keep` 0 drops the reference.

    networks: `unet`, `controlnext` and `image_encoder` by name
    """
    frames = scaled_BFCHW.shape[1]
    embedding = embed_image(
        reference_B3HW, networks["image_encoder"], feature_mean, feature_std
    ) * keep_B.view(-1, 1, 1)
    image = reference_latents_BCHW * keep_B.view(-1, 1, 1, 1)
    port.control = networks["controlnext"](control_BF3HW, timestep_B)
    return networks["unet"](
        torch.cat([scaled_BFCHW, image[:, None].expand(-1, frames, -1, -1, -1)], dim=2),
        timestep_B,
        encoder_hidden_states=embedding,
        added_time_ids=torch.tensor([micro], device=keep_B.device).expand(len(keep_B), -1),
        return_dict=False,
    )[0]


def clip_losses(
    networks: Any,
    port: ControlPort,
    *,
    clean_BFCHW: Tensor,
    reference_B3HW: Tensor,
    reference_latents_BCHW: Tensor,
    control_BF3HW: Tensor,
    weights_BFCHW: Tensor,
    draws: Draws,
    micro: tuple[float, float, float],
    half: bool,
    feature_mean: Sequence[float],
    feature_std: Sequence[float],
) -> Tensor:
    """Losses (B,) of clips whose noise levels and noise were drawn: what every run minimises.

    clean: latents as inference steps them (times the autoencoder's scaling factor)
    reference_latents: of the reference with its noise, unscaled, as the UNet takes them
    weights: of positions and perhaps latents (C may be 1), with the mean 1
    half: compute the networks in bfloat16 (autocast)
    """
    constants = precondition(draws.sigma)
    noisy = clean_BFCHW + draws.sigma.view(-1, 1, 1, 1, 1) * draws.noise
    with torch.autocast(clean_BFCHW.device.type, torch.bfloat16, enabled=half):
        prediction = predict(
            networks,
            port,
            scaled_BFCHW=constants.input * noisy,
            timestep_B=constants.timestep,
            reference_B3HW=reference_B3HW,
            reference_latents_BCHW=reference_latents_BCHW,
            control_BF3HW=control_BF3HW,
            keep_B=draws.keep,
            micro=micro,
            feature_mean=feature_mean,
            feature_std=feature_std,
        )
    return weighted_loss(constants, noisy, clean_BFCHW, prediction, weights_BFCHW)
