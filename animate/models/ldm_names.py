"""Names of UNet tensors in the original Stable Diffusion format, to diffusers' names.

Checkpoints of that format count the blocks of the way down and up in one row (`input_blocks.7.1`);
diffusers names level and layer. Works on any part of a UNet's tensors, as trained parts are shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

Value = TypeVar("Value")
_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_PREFIX = "model.diffusion_model."


def is_original(names: Mapping[str, object]) -> bool:
    """True where tensors have names of the original format."""
    parts = ("input_blocks.", "middle_block.", "output_blocks.")
    return any(name.removeprefix(_PREFIX).startswith(parts) for name in names)


def to_diffusers(weights: Mapping[str, Value], unet_config: Mapping[str, Any]) -> dict[str, Value]:
    """The tensors by diffusers' names; those without a counterpart keep theirs.

    unet_config: of the `UNet2DConditionModel` that they are for
    """
    blocks = sorted(_blocks(unet_config).items(), key=lambda item: -len(item[0]))
    return {_renamed(name.removeprefix(_PREFIX), blocks): value for name, value in weights.items()}


def _renamed(name: str, blocks: list[tuple[str, str]]) -> str:
    for theirs, ours in blocks:
        if not name.startswith(f"{theirs}."):
            continue
        inner = name[len(theirs) + 1 :]
        if ".resnets." in f".{ours}.":
            for part, renamed in _RESNET.items():
                if inner.startswith(f"{part}."):
                    return f"{ours}.{renamed}.{inner[len(part) + 1 :]}"
        return f"{ours}.{inner}"
    return name


def _blocks(config: Mapping[str, Any]) -> dict[str, str]:
    """Beginnings of names: the original format's, and diffusers'."""
    layers, levels = config["layers_per_block"], len(config["block_out_channels"])
    names = dict(_ENDS)
    for level in range(levels):
        for layer in range(layers):
            number = 1 + level * (layers + 1) + layer
            names[f"input_blocks.{number}.0"] = f"down_blocks.{level}.resnets.{layer}"
            names[f"input_blocks.{number}.1"] = f"down_blocks.{level}.attentions.{layer}"
        last = (level + 1) * (layers + 1)
        names[f"input_blocks.{last}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
        attended = "CrossAttn" in config["up_block_types"][level]
        for layer in range(layers + 1):
            number = level * (layers + 1) + layer
            names[f"output_blocks.{number}.0"] = f"up_blocks.{level}.resnets.{layer}"
            names[f"output_blocks.{number}.1"] = f"up_blocks.{level}.attentions.{layer}"
        up = f"output_blocks.{level * (layers + 1) + layers}.{2 if attended else 1}.conv"
        names[up] = f"up_blocks.{level}.upsamplers.0.conv"
    names["middle_block.0"] = "mid_block.resnets.0"
    names["middle_block.1"] = "mid_block.attentions.0"
    names["middle_block.2"] = "mid_block.resnets.1"
    return names
