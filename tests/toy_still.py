"""Stable Diffusion 1.5 and XL of toy size with random weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from animate.models.components import build_control_network
from animate.models.stills import STILL_FILE, load_still_design
from animate.request.presets import configs_folder

DESIGN = "controlnext-sd15-trained"


@dataclass(frozen=True, kw_only=True)
class StillFiles:
    """Files of a toy still model."""

    base: Path
    controlnext: Path
    unet: Path


def write_still_files(folder: Path) -> StillFiles:
    """A base in diffusers' layout, a control network, and weights of the UNet that replace its."""
    torch.manual_seed(0)
    pipe = toy_pipeline(folder)
    pipe.save_pretrained(folder / "base", safe_serialization=True)
    network = build_control_network(load_still_design(DESIGN).controlnext)
    save_file(network.state_dict(), folder / "controlnet.safetensors")
    trained = {
        name: value + 0.01 for name, value in pipe.unet.state_dict().items() if "to_out" in name
    }
    save_file(trained, folder / "unet.safetensors")
    return StillFiles(
        base=folder / "base",
        controlnext=folder / "controlnet.safetensors",
        unet=folder / "unet.safetensors",
    )


def write_still_model(folder: Path) -> Path:
    """A model folder with control network and description, as the bundled one is laid out."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    toy_pipeline(folder).save_pretrained(folder, safe_serialization=True)
    network = build_control_network(load_still_design(DESIGN).controlnext)
    (folder / "controlnext").mkdir()
    save_file(network.state_dict(), folder / "controlnext" / "model.safetensors")
    values = yaml.safe_load((configs_folder() / "stills" / f"{DESIGN}.yaml").read_text())
    stated = {
        name: value
        for name, value in values.items()
        if name not in ("sources", "base", "base_variant")
    }
    stated |= {
        "name": "toy-still",
        "sizes": ["64x64"],
        "pose_style": "small",
        "licence": "Apache-2.0",
    }
    stated["checkpoints"] = {"pose": {"controlnext": "controlnext/model.safetensors"}}
    (folder / STILL_FILE).write_text(yaml.safe_dump(stated, sort_keys=False))
    return folder


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


def toy_xl_pipeline(folder: Path):  # type: ignore[no-untyped-def]
    from diffusers import (
        AutoencoderKL,
        EulerDiscreteScheduler,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(320, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=(5, 4),
        cross_attention_dim=64,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
    )
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
    )
    tokenizer = toy_tokenizer(folder / "words")
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=16,
        projection_dim=32,
        bos_token_id=0,
        eos_token_id=1,
    )
    return StableDiffusionXLPipeline(
        unet=unet,
        vae=vae,
        text_encoder=CLIPTextModel(config),
        text_encoder_2=CLIPTextModelWithProjection(config),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=EulerDiscreteScheduler(steps_offset=1),
    )
