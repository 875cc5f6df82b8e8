"""The parts of a Stable Diffusion 1.5 pipeline at the sizes of a recipe, all of stock classes.

The tokenizer is CLIP's own format with a small vocabulary, in which every word of the captions is
one token; other words fall apart into pieces of them.
"""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from animate.models.controlnext import ControlNeXt
from scripts.tiny_still.people import all_words
from scripts.tiny_still.recipe import StillRecipe

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
CHANNELS_PER_GROUP = 8


def write_vocabulary(folder: Path, words: Sequence[str]) -> None:
    """Write `vocab.json` and `merges.txt` of a byte-pair encoding in which each word is a token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=100_000, min_frequency=1, end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator([" ".join(words)], trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    letters = string.ascii_lowercase + string.digits + string.punctuation
    tokens = dict.fromkeys([BEGIN, *letters, *(f"{letter}</w>" for letter in letters)])
    tokens |= dict.fromkeys(sorted(learned["vocab"], key=learned["vocab"].get))
    vocabulary = [*(token for token in tokens if token != END), END]
    folder.mkdir(parents=True, exist_ok=True)
    values = {token: number for number, token in enumerate(vocabulary)}
    (folder / "vocab.json").write_text(json.dumps(values), encoding="utf-8")
    merges = [" ".join(pair) for pair in learned["merges"]]
    text = "\n".join(["#version: 0.2", *merges]) + "\n"
    (folder / "merges.txt").write_text(text, encoding="utf-8")


def make_tokenizer(folder: Path, length: int) -> Any:
    """A CLIP tokenizer of the captions' words; its vocabulary is written to a folder."""
    from transformers import CLIPTokenizer

    write_vocabulary(folder, all_words())
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=length
    )


def make_text_encoder(recipe: StillRecipe, tokenizer: Any) -> Any:
    """A small CLIP text model."""
    from transformers import CLIPTextConfig, CLIPTextModel

    sizes = recipe.networks
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=sizes.text_width,
            intermediate_size=2 * sizes.text_width,
            projection_dim=sizes.text_width,
            num_hidden_layers=sizes.text_layers,
            num_attention_heads=4,
            max_position_embeddings=sizes.text_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def make_unet(recipe: StillRecipe) -> Any:
    """A stock UNet; attention everywhere but at the finest level."""
    from diffusers import UNet2DConditionModel

    sizes = recipe.networks
    deeper = len(sizes.channels) - 1
    return UNet2DConditionModel(
        sample_size=max(recipe.size) // 4,  # one number: diffusers' image-to-image refuses a pair
        in_channels=recipe.autoencoder.latents,
        out_channels=recipe.autoencoder.latents,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * deeper),
        up_block_types=(*("CrossAttnUpBlock2D",) * deeper, "UpBlock2D"),
        block_out_channels=sizes.channels,
        layers_per_block=sizes.layers,
        cross_attention_dim=sizes.text_width,
        attention_head_dim=sizes.heads,
        norm_num_groups=sizes.channels[0] // CHANNELS_PER_GROUP,
    )


def make_autoencoder(recipe: StillRecipe) -> Any:
    """A stock autoencoder that shrinks 4 times."""
    from diffusers import AutoencoderKL

    sizes = recipe.autoencoder
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(sizes.blocks),
        up_block_types=("UpDecoderBlock2D",) * len(sizes.blocks),
        block_out_channels=sizes.blocks,
        layers_per_block=1,
        latent_channels=sizes.latents,
        norm_num_groups=sizes.blocks[-1] // CHANNELS_PER_GROUP,
        sample_size=max(recipe.size),
        scaling_factor=1.0,
        force_upcast=False,
    )


def make_scheduler() -> Any:
    """The noise levels that the networks are trained at, as a stock scheduler.

    The last is pure noise (arXiv 2305.08891): with the usual schedule the mean of so few positions
    shows a wall's colour through the noise, and the prompt is not asked for it.
    """
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
    )


def make_networks(recipe: StillRecipe, tokenizer: Any) -> nn.ModuleDict:
    """`unet`, `controlnext` and `text_encoder`, initialised from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    return nn.ModuleDict(
        {
            "unet": make_unet(recipe),
            "controlnext": ControlNeXt(recipe.networks.controlnext),
            "text_encoder": make_text_encoder(recipe, tokenizer),
        }
    )
