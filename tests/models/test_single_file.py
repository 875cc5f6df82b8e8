"""Names of a checkpoint in one file, against names that the published file is known to have."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import torch
from safetensors.torch import save_file

from animate.errors import ModelError
from animate.models.components import build_network, without_memory
from animate.models.single_file import SingleFile, read_part
from animate.models.variants import shipped_config
from tests.toy import toy_networks

UNET = "model.diffusion_model."
CLIP = "conditioner.embedders.0.open_clip.model.visual."
# Names of the published checkpoint (svd_xt.safetensors) and of diffusers' folder of the same.
KNOWN = {
    "unet": {
        "conv_in.weight": UNET + "input_blocks.0.0.weight",
        "time_embedding.linear_2.bias": UNET + "time_embed.2.bias",
        "add_embedding.linear_1.weight": UNET + "label_emb.0.0.weight",
        "down_blocks.0.downsamplers.0.conv.weight": UNET + "input_blocks.3.0.op.weight",
        "down_blocks.1.resnets.0.spatial_res_block.conv_shortcut.weight": UNET
        + "input_blocks.4.0.skip_connection.weight",
        "down_blocks.0.resnets.0.temporal_res_block.time_emb_proj.weight": UNET
        + "input_blocks.1.0.time_stack.emb_layers.1.weight",
        "down_blocks.3.resnets.1.time_mixer.mix_factor": UNET
        + "input_blocks.11.0.time_mixer.mix_factor",
        "down_blocks.0.attentions.1.temporal_transformer_blocks.0.ff_in.net.0.proj.weight": UNET
        + "input_blocks.2.1.time_stack.0.ff_in.net.0.proj.weight",
        "mid_block.resnets.1.spatial_res_block.norm2.weight": UNET
        + "middle_block.2.out_layers.0.weight",
        "mid_block.attentions.0.time_pos_embed.linear_2.bias": UNET
        + "middle_block.1.time_pos_embed.2.bias",
        "up_blocks.0.upsamplers.0.conv.weight": UNET + "output_blocks.2.1.conv.weight",
        "up_blocks.1.upsamplers.0.conv.weight": UNET + "output_blocks.5.2.conv.weight",
        "up_blocks.3.attentions.2.proj_out.weight": UNET + "output_blocks.11.1.proj_out.weight",
        "conv_norm_out.weight": UNET + "out.0.weight",
        "conv_out.bias": UNET + "out.2.bias",
    },
    "vae": {
        "encoder.conv_in.weight": "conditioner.embedders.3.encoder.encoder.conv_in.weight",
        "encoder.down_blocks.1.resnets.0.conv_shortcut.bias": (
            "conditioner.embedders.3.encoder.encoder.down.1.block.0.nin_shortcut.bias"
        ),
        "encoder.down_blocks.2.downsamplers.0.conv.bias": (
            "conditioner.embedders.3.encoder.encoder.down.2.downsample.conv.bias"
        ),
        "encoder.mid_block.attentions.0.to_q.weight": (
            "conditioner.embedders.3.encoder.encoder.mid.attn_1.q.weight"
        ),
        "encoder.mid_block.resnets.1.norm1.weight": (
            "conditioner.embedders.3.encoder.encoder.mid.block_2.norm1.weight"
        ),
        "encoder.conv_norm_out.bias": "conditioner.embedders.3.encoder.encoder.norm_out.bias",
        "quant_conv.weight": "conditioner.embedders.3.encoder.quant_conv.weight",
        "decoder.mid_block.resnets.0.temporal_res_block.conv2.weight": (
            "first_stage_model.decoder.mid.block_1.time_stack.out_layers.3.weight"
        ),
        "decoder.mid_block.resnets.0.time_mixer.mix_factor": (
            "first_stage_model.decoder.mid.block_1.mix_factor"
        ),
        "decoder.mid_block.attentions.0.to_out.0.bias": (
            "first_stage_model.decoder.mid.attn_1.proj_out.bias"
        ),
        "decoder.up_blocks.3.resnets.0.spatial_res_block.conv_shortcut.weight": (
            "first_stage_model.decoder.up.0.block.0.nin_shortcut.weight"
        ),
        "decoder.up_blocks.2.upsamplers.0.conv.bias": (
            "first_stage_model.decoder.up.1.upsample.conv.bias"
        ),
        "decoder.time_conv_out.weight": "first_stage_model.decoder.conv_out.time_mix_conv.weight",
    },
    "image_encoder": {
        "vision_model.embeddings.class_embedding": CLIP + "class_embedding",
        "vision_model.embeddings.position_embedding.weight": CLIP + "positional_embedding",
        "vision_model.pre_layrnorm.weight": CLIP + "ln_pre.weight",
        "vision_model.post_layernorm.bias": CLIP + "ln_post.bias",
        "vision_model.encoder.layers.31.self_attn.v_proj.bias": (
            CLIP + "transformer.resblocks.31.attn.in_proj_bias"
        ),
        "vision_model.encoder.layers.0.self_attn.out_proj.weight": (
            CLIP + "transformer.resblocks.0.attn.out_proj.weight"
        ),
        "vision_model.encoder.layers.7.mlp.fc2.bias": (
            CLIP + "transformer.resblocks.7.mlp.c_proj.bias"
        ),
        "visual_projection.weight": CLIP + "proj",
    },
}


def single_file_of(networks: dict) -> dict[str, torch.Tensor]:
    """A checkpoint in one file with the weights of toy networks."""
    tensors: dict[str, torch.Tensor] = {}
    for name in KNOWN:
        network = networks[name]
        packed: dict[str, list[torch.Tensor]] = {}
        for key, piece in pieces_of(network).items():
            value = network.state_dict()[key].clone()
            if piece.third is not None:
                packed.setdefault(piece.key, [None] * 3)[piece.third] = value
                continue
            if name == "vae" and ".attn_1." in piece.key and value.ndim == 2:
                value = value[:, :, None, None]
            tensors[piece.key] = value.T.contiguous() if piece.transposed else value.contiguous()
        tensors |= {key: torch.cat(thirds) for key, thirds in packed.items()}
    return tensors


class _AllKeys(SingleFile):
    """A file that holds whatever is asked for, under the prefixes of a whole checkpoint."""

    def __init__(self) -> None:
        self.path, self.keys = "any", _Everything()

    def unet_prefix(self) -> str:
        return UNET


class _Everything(frozenset):
    def __contains__(self, key: object) -> bool:
        return not str(key).startswith("first_stage_model.encoder")


def pieces_of(network):
    return _AllKeys().pieces(network)


@pytest.mark.parametrize("name", KNOWN)
def test_every_tensor_has_its_name_in_the_published_checkpoint(name):
    config = json.loads(shipped_config(name).read_text())
    network = without_memory(lambda: build_network(name, config))
    pieces = pieces_of(network)
    assert set(pieces) == set(network.state_dict())
    assert {key: pieces[key].key for key in KNOWN[name]} == KNOWN[name]
    count = Counter(piece.key for piece in pieces.values() if piece.third is None)
    assert set(count.values()) == {1}
    thirds = Counter(piece.key for piece in pieces.values() if piece.third is not None)
    assert set(thirds.values()) == ({3} if name == "image_encoder" else set())


@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_a_network_is_read_from_one_file_as_it_was(tmp_path, suffix):
    networks = toy_networks()
    tensors, path = single_file_of(networks), tmp_path / f"toy.{suffix}"
    save_file(tensors, path) if suffix == "safetensors" else torch.save(tensors, path)
    for name in KNOWN:
        state = networks[name].state_dict()
        read = read_part(path, networks[name])
        assert set(read) == set(state)
        assert all(torch.equal(read[key], value) for key, value in state.items())


def test_tensors_that_are_not_in_the_file_are_named(tmp_path):
    networks = toy_networks()
    tensors = single_file_of(networks)
    del tensors["first_stage_model.decoder.conv_in.weight"]
    save_file(tensors, tmp_path / "toy.safetensors")
    with pytest.raises(ModelError, match=r"does not hold the AutoencoderKL.*conv_in"):
        read_part(tmp_path / "toy.safetensors", networks["vae"])
    read_part(tmp_path / "toy.safetensors", networks["unet"])
