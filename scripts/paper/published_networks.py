"""The published base networks and their ControlNets at full size, weights not set.

Configurations are facts of the published models (their `config.json`), written down here; the
UNet class of Stable Video Diffusion has them as its defaults.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from animate.models.config import ControlNeXtConfig
from animate.models.controlnext import ControlNeXt

Config = dict[str, Any]
"""A `config.json` of diffusers."""

SD15: Config = {
    "sample_size": 64,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
SDXL: Config = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "use_linear_projection": True,
}
NETWORKS = {
    # The network of the published code for SD1.5, SDXL and SVD v2; padded as it is trained.
    "later": ControlNeXtConfig(stem_padding=1),
    # The network of SVD v1.
    "first": ControlNeXtConfig(
        stem_pool=True,
        block_channels=(128, 256, 256),
        block_groups=(4, 8, 8),
        out_channels=1280,
        learned_scale=True,
    ),
}
"""Control networks of the published code by generation."""
BASES = ("SD1.5", "SDXL", "SVD")
TOY: dict[str, Config] = {
    "SD1.5": {**SD15, "block_out_channels": (32, 32, 64, 64)},
    "SDXL": {
        **SDXL,
        "block_out_channels": (32, 32, 64),
        "transformer_layers_per_block": (1, 1, 2),
        "attention_head_dim": (2, 2, 4),
    },
    "SVD": {"block_out_channels": (32, 32, 64, 64), "num_attention_heads": (2, 2, 4, 4)},
}
"""The same architectures at sizes that a test can run."""


def make_base(name: str, toy: bool = False) -> Any:
    """The UNet of one of `BASES`."""
    from diffusers import UNet2DConditionModel, UNetSpatioTemporalConditionModel

    config = TOY[name] if toy else {"SD1.5": SD15, "SDXL": SDXL, "SVD": {}}[name]
    if name == "SVD":
        return UNetSpatioTemporalConditionModel(**config)
    return UNet2DConditionModel(**config)


def make_controlnet(name: str, unet: Any, *, take: bool = False) -> Any:
    """The ControlNet of a base: diffusers' own for the image models, ours for SVD, which with
    `take` uses up the UNet instead of copying it (tensors without data cannot be copied)."""
    from diffusers import ControlNetModel

    from scripts.paper.baselines.controlnet import EncoderCopy

    if name == "SVD":
        return EncoderCopy(unet, take=take)
    return ControlNetModel.from_unet(unet, load_weights_from_unet=False)


def make_controlnext(generation: str, out_channels: int | None = None) -> ControlNeXt:
    """A control network of one of `NETWORKS`, or one with other output channels."""
    config = NETWORKS[generation]
    return ControlNeXt(
        config if out_channels is None else replace(config, out_channels=out_channels)
    )
