"""Write what a fine-tuning learned: in the published files' layout, or as adapters."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from animate.errors import TrainingError
from animate.files import atomic_folder, sha256, write_text
from animate.models.adapter_files import METADATA, WEIGHTS
from animate.models.base import load_base
from animate.models.components import Components
from animate.models.config import Component, Source
from animate.models.variants import VARIANT_FILE, ModelVariant
from animate.request.values import Size
from animate.training.checkpoints import load_checkpoint
from animate.training.finetune_config import FineTuneConfig
from animate.training.loop import STATE
from animate.training.parts import ADAPTER, choose_trained

UNET_FILE, CONTROL_FILE = "unet.safetensors", "controlnet.safetensors"
"""As the published files are called; so are the tensors in them."""
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def export_fine_tuned(
    config: FineTuneConfig,
    folder: Path,
    *,
    merged: bool = False,
    precision: str = "float16",
    overwrite: bool = False,
) -> Path:
    """Write the moving average of a run to the new `folder`; returns it.

    `controlnet.safetensors` is the control network, `unet.safetensors` the learned parameters
    alone, or with `merged` the whole UNet; `variant.yaml` names them and the base's other files,
    so that `cnx run --model FOLDER` takes it. A run of adapters gives a file for `--lora` in
    diffusers' format. Raises `TrainingError` when there is no checkpoint, or the folder exists.
    """
    parts = load_base(config.base, like=config.like, control=config.control, seed=config.seed)
    learned = put_learned(config, parts)
    dtype = DTYPES[precision]
    try:
        with atomic_folder(folder, overwrite=overwrite) as partial:
            if config.train == "lora":
                _write_adapter(partial, learned, config, dtype)
            else:
                _write_model(partial, folder, config, parts, None if merged else learned, dtype)
    except FileExistsError:
        raise TrainingError(
            f"{folder} exists already; choose another name or give --overwrite"
        ) from None
    except OSError as reason:
        raise TrainingError(f"{folder} cannot be written: {reason}") from reason
    return folder


def put_learned(config: FineTuneConfig, parts: Components) -> dict[str, Tensor]:
    """Put a run's moving average into its base; returns what was learned, by name.

    Raises `TrainingError` when the run has no checkpoint yet, or it is another recipe's.
    """
    state = load_checkpoint(
        config.folder / STATE, config.digest(base=dict(parts.digests)), "recipe"
    )
    if state is None:
        raise TrainingError(f"{config.folder} holds no checkpoint yet; train first")
    networks = nn.ModuleDict({"unet": parts.unet, "controlnext": parts.controlnext})
    parameters = choose_trained(networks, config.train, config.lora)
    with torch.no_grad():
        for parameter, average in zip(parameters.values(), state["average"], strict=True):
            parameter.copy_(average)
    return {name: parameter.detach() for name, parameter in parameters.items()}


def _write_model(
    partial: Path, folder: Path, config: FineTuneConfig, parts: Components,
    learned: Mapping[str, Tensor] | None, dtype: torch.dtype,
) -> None:  # fmt: skip
    """Files and `variant.yaml`; `learned` None writes the whole UNet and brings along what the base
    has in a folder."""
    unet = parts.unet.state_dict() if learned is None else _of(learned, "unet.")
    _save(unet, partial / UNET_FILE, dtype)
    _save(parts.controlnext.state_dict(), partial / CONTROL_FILE, dtype)
    base = parts.variant
    digests = {name: sha256(partial / name) for name in (UNET_FILE, CONTROL_FILE)}
    components = {"controlnext": Component(weights=(CONTROL_FILE,))}
    for name in ("unet", "vae", "image_encoder"):
        component = base.components[name]
        weights = () if name == "unet" and learned is None else component.weights
        files = [_reference(base, file, partial, folder, learned is None, digests)
                 for file in (component.config, *weights)]  # fmt: skip
        last = (UNET_FILE,) if name == "unet" else ()
        components[name] = Component(
            config=files[0], weights=(*files[1:], *last), prefix=component.prefix
        )
    variant = replace(
        base,
        name=config.name,
        summary=config.summary or f"{base.name}, fine-tuned ({config.train})",
        sizes=_sizes(config, base),
        components=components,
        sources=_used_sources(base, components),
        digests=digests,
        folder=partial,
    )
    text = yaml.safe_dump(variant.to_dict(), sort_keys=False, width=100, allow_unicode=True)
    write_text(partial / VARIANT_FILE, text)


def _reference(
    base: ModelVariant, file: str, partial: Path, folder: Path, copy: bool, digests: dict[str, str]
) -> str:
    """Name of a base's file in the new variant: as it was where it comes from the hub, a
    relative path to where it lies, or its copy's name."""
    stored = base.file(file)
    if stored.source is not None:
        return file
    path = stored.locate()
    assert path is not None  # the base was loaded from it
    if copy:
        target = partial / stored.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        name = stored.path
    else:
        name = os.path.relpath(path, os.path.realpath(folder))
        if ":" in name:
            raise TrainingError(
                f"{path} has a colon in its path, which a {VARIANT_FILE} cannot name; use --merged"
            )
    digests[name] = sha256(path)
    return name


def _used_sources(base: ModelVariant, components: Mapping[str, Component]) -> dict[str, Source]:
    """The base's repositories, without the digests of files that are no longer used."""
    files = {
        file for component in components.values() for file in (component.config, *component.weights)
    }
    used = {}
    for name, source in base.sources.items():
        paths = {file.partition(":")[2] for file in files if file.startswith(f"{name}:")}
        if paths:
            digests = {path: digest for path, digest in source.digests.items() if path in paths}
            used[name] = replace(source, digests=digests)
    return used


def _sizes(config: FineTuneConfig, base: ModelVariant) -> tuple[Size, ...]:
    """The base's sizes behind the one that was trained."""
    return tuple(dict.fromkeys((config.data.videos.size, *base.sizes)))


def _write_adapter(
    partial: Path, learned: Mapping[str, Tensor], config: FineTuneConfig, dtype: torch.dtype
) -> None:
    """In diffusers' format, its sizes in the metadata."""
    tensors = {name.replace(f".{ADAPTER}.", "."): value for name, value in learned.items()}
    sizes = {
        "unet.r": config.lora.rank,
        "unet.lora_alpha": config.lora.alpha,
        "unet.target_modules": list(config.lora.targets),
    }
    _save(tensors, partial / WEIGHTS[1], dtype, {METADATA: json.dumps(sizes)})


def _of(learned: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): v for n, v in learned.items() if n.startswith(prefix)}


def _save(
    tensors: Mapping[str, Tensor], path: Path, dtype: torch.dtype, metadata: Any = None
) -> None:
    plain = {
        name: value.detach().to("cpu", dtype if value.is_floating_point() else None).contiguous()
        for name, value in tensors.items()
    }
    save_file(plain, path, metadata={"format": "pt", **(metadata or {})})
    path.chmod(0o644)  # it is made for its owner alone
