"""The model that a training starts from: a variant, or Stable Video Diffusion as it is published.

A folder in diffusers' layout (`unet`, `vae` and `image_encoder`, each with `config.json` and its
weights) has no `variant.yaml`; it takes the constants of a variant that is named.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from animate.files import real_path
from animate.models.components import Components, load_components
from animate.models.config import Component, ControlWeights
from animate.models.source_parts import diffusers_part
from animate.models.variants import VARIANT_FILE, ModelVariant, load_variant

CONTROL_FILES = ("controlnet.safetensors", "controlnet.bin")
"""A control network beside a base model, as the published files are called."""


def base_variant(name: str, like: str) -> ModelVariant:
    """The variant `name`; for a folder in diffusers' layout, one with the constants of `like`.

    Raises `ModelError` when there is neither.
    """
    folder = Path(name)
    if folder.is_dir() and not (folder / VARIANT_FILE).is_file():
        return _published_layout(folder, load_variant(like))
    return load_variant(name)


def load_base(name: str, *, like: str, control: ControlWeights, seed: int) -> Components:
    """The networks of a base model in float32, on the CPU.

    With `control` "new" the control network's weights are drawn from the seed. Raises `ModelError`
    as `load_components` does.
    """
    variant = base_variant(name, like)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return load_components(variant, fresh=("controlnext",) if control == "new" else ())


def _published_layout(folder: Path, like: ModelVariant) -> ModelVariant:
    components = {}
    for name in ("unet", "vae", "image_encoder"):
        weights = diffusers_part(folder, name).weights
        files = tuple(f"{name}/{path.name}" for path in weights)
        components[name] = Component(config=f"{name}/config.json", weights=files)
    control = next((file for file in CONTROL_FILES if (folder / file).is_file()), CONTROL_FILES[0])
    return replace(
        like,
        name=real_path(folder).name,
        summary=f"Base model in {folder} with the constants of {like.name}",
        components={**components, "controlnext": Component(weights=(control,))},
        sources={},
        digests={},
        folder=real_path(folder),
    )
