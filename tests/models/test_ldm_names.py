"""Names of the original format become diffusers' for every tensor of a UNet."""

from __future__ import annotations

import re

import pytest

from animate.models.ldm_names import is_original, to_diffusers

CONFIGS = {
    "sd15": {
        "block_out_channels": [320, 640, 1280, 1280],
        "layers_per_block": 2,
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    },
    "sdxl": {
        "block_out_channels": [320, 640, 1280],
        "layers_per_block": 2,
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    },
}
NAMES = {
    "sd15": {
        "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight":
            "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight",
        "input_blocks.3.0.op.weight": "down_blocks.0.downsamplers.0.conv.weight",
        "input_blocks.4.0.in_layers.0.weight": "down_blocks.1.resnets.0.norm1.weight",
        "input_blocks.11.0.out_layers.3.bias": "down_blocks.3.resnets.1.conv2.bias",
        "middle_block.1.proj_in.weight": "mid_block.attentions.0.proj_in.weight",
        "middle_block.2.emb_layers.1.weight": "mid_block.resnets.1.time_emb_proj.weight",
        "output_blocks.2.1.conv.weight": "up_blocks.0.upsamplers.0.conv.weight",
        "output_blocks.5.2.conv.weight": "up_blocks.1.upsamplers.0.conv.weight",
        "output_blocks.11.0.skip_connection.weight": "up_blocks.3.resnets.2.conv_shortcut.weight",
        "time_embed.2.bias": "time_embedding.linear_2.bias",
        "out.2.weight": "conv_out.weight",
    },
    "sdxl": {
        "input_blocks.4.1.transformer_blocks.1.attn2.to_out.0.weight":
            "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_out.0.weight",
        "output_blocks.2.2.conv.weight": "up_blocks.0.upsamplers.0.conv.weight",
        "output_blocks.8.0.in_layers.2.weight": "up_blocks.2.resnets.2.conv1.weight",
        "label_emb.0.2.weight": "add_embedding.linear_2.weight",
    },
}  # fmt: skip


@pytest.mark.parametrize("family", NAMES)
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_names_are_those_of_the_block(family: str, prefix: str) -> None:
    originals = {prefix + name: name for name in NAMES[family]}
    assert is_original(originals)
    renamed = to_diffusers(originals, CONFIGS[family])
    assert {value: key for key, value in renamed.items()} == NAMES[family]


def test_names_of_diffusers_stay() -> None:
    weights = {"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_out.0.weight": 1}
    assert not is_original(weights)
    assert to_diffusers(weights, CONFIGS["sdxl"]) == weights


def test_no_two_names_become_one() -> None:
    from animate.models.ldm_names import _blocks

    for config in CONFIGS.values():
        names = list(_blocks(config).values())
        assert len(set(names)) == len(names)
        assert not [name for name in names if re.search(r"\s", name)]
