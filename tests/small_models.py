"""Every model variant with random weights of a test's size: its own data, but for sizes.

`small_model` takes a variant as its YAML states it, and shrinks what only says how large something
is: the networks, the picture, the window, the number of steps. Nothing here knows a model's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from animate.errors import ModelError
from animate.models.components import build_network, build_own, save_model
from animate.models.config import Family
from animate.models.identity_attention import IdentityAttentions, identity_attention
from animate.models.variants import ModelVariant, load_variant, variant_names
from animate.request.schema import build
from tests.face_networks import DETECTOR, RECOGNISER, WIDTH
from tests.toy import CONTROLNEXT, IMAGE_ENCODER, UNET, VAE

SAMPLING = {"steps": 2, "window": 4, "overlap": 1, "decode_chunk": 4}
_LEVELS: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [32, 32, 32],
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "norm_num_groups": 8,
}
SIZES: Mapping[Family, Mapping[str, dict[str, Any]]] = {
    "svd": {"unet": UNET, "vae": VAE, "image_encoder": IMAGE_ENCODER},
    "reference-net": {
        "unet": {
            **_LEVELS,
            "down_block_types": ["CrossAttnDownBlockMotion"] * 2 + ["DownBlockMotion"],
            "up_block_types": ["UpBlockMotion"] + ["CrossAttnUpBlockMotion"] * 2,
            "num_attention_heads": 2,
            "motion_num_attention_heads": 2,
            "motion_max_seq_length": 32,
            "use_motion_mid_block": True,
        },
        "reference_unet": {
            **_LEVELS,
            "down_block_types": ["CrossAttnDownBlock2D"] * 2 + ["DownBlock2D"],
            "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 2,
            "attention_head_dim": 2,
        },
        "vae": {**VAE, "latent_channels": 4, "up_block_types": ["UpDecoderBlock2D"] * 3},
        "image_encoder": IMAGE_ENCODER,
    },
}
"""Sizes of the stock networks of each family."""
_FACE = {
    "face_width": WIDTH,
    "image_width": 16,
    "context_width": 16,
    "head_width": 8,
    "layers": 1,
    "detector": DETECTOR,
    "recogniser": RECOGNISER,
}


_WORDS = (
    "name", "summary", "licence", "licence_url", "commercial", "code_licence", "code_url",
    "peak_memory",
)  # fmt: skip
"""What a variant says of itself, which changes nothing."""


def small_variant(name: str) -> ModelVariant:
    """The variant of that name with a test's sizes."""
    values = load_variant(name).to_dict()
    own = {"weights": ["model.safetensors"], "config": "config.json"}
    values |= {
        "name": f"small-{name}",
        "sizes": ["64x64"],
        "size_multiple": 8,
        "sampling": {**values["sampling"], **SAMPLING},
        "channels_per_group": 8,
        "sources": {},
        "digests": {},
        "components": dict.fromkeys(load_variant(name).networks, own),
    }
    if values.get("controlnext"):
        values["controlnext"] = {
            **values["controlnext"],
            **{key: CONTROLNEXT[key] for key in CONTROLNEXT if key != "stem_padding"},
        }
        if values["controlnext"]["stem_pool"]:  # the features are coarser where they go in
            values["controlnext"] |= {"block_channels": [32], "block_groups": [4]}
    if values.get("pose_net"):
        values["pose_net"] |= {"channels": [8, 16, 32], "out_channels": 32}
    if values.get("pose_guider"):
        values["pose_guider"] |= {"channels": [8, 16, 16], "out_channels": 32}
    if values.get("face"):
        values["face"] |= _FACE
    return build(ModelVariant, values, name, ModelError)


def distinct_names() -> tuple[str, ...]:
    """Names of the variants that differ in more than size, one for each kind."""
    kinds: dict[str, str] = {}
    for name in variant_names():
        values = small_variant(name).to_dict()
        for name_alone in _WORDS:
            values.pop(name_alone, None)
        kinds.setdefault(repr(values), name)
    return tuple(kinds.values())


def small_networks(variant: ModelVariant, seed: int = 0) -> dict[str, nn.Module]:
    """The variant's networks with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes, networks = SIZES[variant.family], dict[str, nn.Module]()
        for name in variant.networks:
            networks[name] = (
                build_network(name, sizes[name], variant.family)
                if name in sizes
                else build_own(name, variant)
            )
        for network in networks.values():  # published ones begin at zero there, as if untrained
            for parameter in network.parameters():
                if not parameter.any():
                    nn.init.normal_(parameter, std=0.05)
    return networks


def small_model(name: str, folder: Path, seed: int = 0) -> ModelVariant:
    """Write the small variant with random weights to the new `folder`; returns it."""
    variant = small_variant(name)
    networks = small_networks(variant, seed)
    if variant.face is None:
        return save_model(folder, variant, networks)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        identity = IdentityAttentions(networks["unet"], variant.face.tokens)
    with identity_attention(networks["unet"], identity):
        return save_model(folder, variant, networks)
