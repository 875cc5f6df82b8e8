"""The model that a training starts from: a variant, or Stable Video Diffusion as it is published.

A folder in diffusers' layout (`unet`, `vae` and `image_encoder`, each with `config.json` and its
weights) has no `variant.yaml`; it takes the constants of a variant that is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from animate.errors import ModelError
from animate.models.components import Components, load_components
from animate.models.config import Component, ControlWeights
from animate.models.variants import VARIANT_FILE, ModelVariant, load_variant

_NAMES = ("diffusion_pytorch_model", "model")
_KINDS = (".safetensors", ".fp16.safetensors", ".bin", ".fp16.bin")
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
    components = {
        name: Component(config=f"{name}/config.json", weights=(_weights(folder, name),))
        for name in ("unet", "vae", "image_encoder")
    }
    control = next((file for file in CONTROL_FILES if (folder / file).is_file()), CONTROL_FILES[0])
    return replace(
        like,
        name=folder.resolve().name,
        summary=f"Base model in {folder} with the constants of {like.name}",
        components={**components, "controlnext": Component(weights=(control,))},
        sources={},
        digests={},
        folder=folder.resolve(),
    )


def _weights(folder: Path, name: str) -> str:
    if not (folder / name / "config.json").is_file():
        raise ModelError(
            f"{folder} is no base model: it has neither a {VARIANT_FILE} nor {name}/config.json as "
            "in diffusers' layout of Stable Video Diffusion"
        )
    candidates = [f"{name}/{stem}{kind}" for kind in _KINDS for stem in _NAMES]
    found = [file for file in candidates if (folder / file).is_file()]
    if not found:
        raise ModelError(f"{folder / name} has no weights: {_listed(candidates)}")
    return found[0]


def _listed(names: Sequence[str]) -> str:
    return " or ".join(name.rpartition("/")[2] for name in names[:3]) + " is looked for"
