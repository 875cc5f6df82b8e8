"""A Stable Diffusion 1.5 folder of toy size with random weights, and control files for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from animate.models.components import build_control_network
from animate.models.stills import load_still_design

DESIGN = "controlnext-sd15-trained"


@dataclass(frozen=True, kw_only=True)
class Files:
    """Files of a toy still model."""

    base: Path
    controlnext: Path
    unet: Path


@pytest.fixture(scope="session")
def toy_still(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("still")
    torch.manual_seed(0)
    pipe = toy_pipeline(folder)
    base = folder / "base"
    pipe.save_pretrained(base, safe_serialization=True)
    network = build_control_network(load_still_design(DESIGN).controlnext)
    save_file(network.state_dict(), folder / "controlnet.safetensors")
    trained = {
        name: value + 0.01 for name, value in pipe.unet.state_dict().items() if "to_out" in name
    }
    save_file(trained, folder / "unet.safetensors")
    return Files(
        base=base,
        controlnext=folder / "controlnet.safetensors",
        unet=folder / "unet.safetensors",
    )


def toy_pipeline(folder: Path):  # type: ignore[no-untyped-def]
    from diffusers import (
        AutoencoderKL,
        PNDMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(320, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=8,
        cross_attention_dim=32,
    )
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
    )
    tokenizer = toy_tokenizer(folder / "words")
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=4,
            max_position_embeddings=16,
        )
    )
    return StableDiffusionPipeline(
        unet=unet,
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        scheduler=PNDMScheduler(skip_prk_steps=True, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def toy_tokenizer(folder: Path):  # type: ignore[no-untyped-def]
    from transformers import CLIPTokenizer

    folder.mkdir()
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{x}</w>" for x in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16
    )
