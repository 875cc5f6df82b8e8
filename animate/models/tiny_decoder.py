"""Tiny autoencoders of a base's latents, for previews: diffusers' own class, from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from animate.errors import ModelError
from animate.models.components import check_layers, without_memory
from animate.models.store import read_json
from animate.models.weight_files import apply_weights, read_weights

_CONFIG, _WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"


def tiny_decoder_files(folder: Path) -> tuple[Path, Path]:
    """Configuration and weights in a folder. Raises ModelError naming those that are missing."""
    missing = [name for name in (_CONFIG, _WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"--preview-decoder {folder} has no {' and no '.join(missing)}; name a folder of "
            "diffusers' AutoencoderTiny, such as `hf download madebyollin/taesd` brings"
        )
    return folder / _CONFIG, folder / _WEIGHTS


def load_tiny_decoder(folder: Path, *, channels: int, scale: int) -> Any:
    """diffusers' `AutoencoderTiny`, on the CPU in the precision of its class.

    channels: of the latents that it is to decode
    scale: pixels of a side that one latent position stands for
    Raises ModelError for missing or damaged files, and for other latents.
    """
    import diffusers

    config_file, weights = tiny_decoder_files(folder)
    config = read_json(config_file)
    kind = config.get("_class_name")
    if kind != "AutoencoderTiny":
        raise ModelError(f"{config_file} is of {kind}, not of diffusers' AutoencoderTiny")
    try:
        check_layers(config)
        network = without_memory(lambda: diffusers.AutoencoderTiny.from_config(config))
        sizes = network.config
        theirs = (
            sizes.latent_channels,
            sizes.upsampling_scaling_factor ** (len(sizes.num_decoder_blocks) - 1),
        )
    except (TypeError, ValueError, KeyError, RuntimeError) as reason:
        raise ModelError(f"{config_file} does not describe an autoencoder: {reason}") from reason
    if theirs != (channels, scale):
        raise ModelError(
            f"{folder} decodes latents of {theirs[0]} channels, {theirs[1]} pixels a side; the "
            f"model's have {channels} and {scale}: leave --preview-decoder out, or name another"
        )
    apply_weights(network, read_weights(weights), weights)
    return network.eval()
