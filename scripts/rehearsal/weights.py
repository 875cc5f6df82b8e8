"""Full-size model folders with random weights, in the published files' names and layout."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from animate.errors import ModelError
from animate.files import atomic_folder, write_text
from animate.models.components import build_control_network, build_network
from animate.models.config import Component
from animate.models.store import read_json
from animate.models.variants import (
    COMPONENTS,
    VARIANT_FILE,
    ModelVariant,
    load_variant,
    shipped_config,
)

_GIB = 2**30
_NEEDED = 5 * _GIB


def build_model(folder: Path, name: str, *, shared: Path | None = None) -> Path:
    """A model folder of the published variant `name`, unless it is there already.

    shared: another such folder; files of the same networks are linked from it, not made again
    Raises ModelError where the disk has too little room.
    """
    path = folder / name
    if path.is_dir():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    if shared is None and shutil.disk_usage(folder).free < _NEEDED:
        raise ModelError(
            f"{folder} has less than {_NEEDED // _GIB} GiB free; choose another folder"
        )
    variant = load_variant(name)
    with atomic_folder(path) as partial:
        parts = {
            network: _write(partial, variant, network, number, shared)
            for number, network in enumerate(COMPONENTS)
        }
        written = replace(variant, components=parts, sources={}, digests={}, folder=partial)
        write_text(partial / VARIANT_FILE, yaml.safe_dump(written.to_dict(), sort_keys=False))
    return path


def _write(
    folder: Path, variant: ModelVariant, network: str, seed: int, shared: Path | None
) -> Component:
    """The files of one network; of the control network, which differs, always new ones."""
    (folder / network).mkdir()
    published = variant.components[network].weights[-1].rpartition("/")[2]
    weights = folder / network / published
    config = folder / network / "config.json"
    with torch.device("meta"):
        built: Any = (
            build_control_network(variant.control_network)
            if network == "controlnext"
            else build_network(network, read_json(shipped_config(network)))
        )
    if network != "controlnext":
        write_text(config, shipped_config(network).read_text())
    twin = next(iter((shared / network).glob("*.[bs]*")), None) if shared is not None else None
    if twin is not None and network != "controlnext" and twin.suffix == weights.suffix:
        os.link(twin, weights)
    else:
        _save(random_weights(built, seed), weights)
    stated = "" if network == "controlnext" else f"{network}/config.json"
    return Component(config=stated, weights=(f"{network}/{published}",))


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    if path.suffix == ".safetensors":
        save_file(dict(tensors), path, metadata={"format": "pt"})
    else:
        torch.save(dict(tensors), path)


def random_weights(network: nn.Module, seed: int) -> dict[str, Tensor]:
    """Float16 numbers of the sizes that keep a layer's output as large as its input; norms and
    biases as they begin. `network` may lie on the meta device."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, like in network.state_dict().items():
        if not like.is_floating_point():
            tensors[name] = torch.zeros(like.shape, dtype=like.dtype)
        elif like.ndim > 1:
            numbers = torch.randn(like.shape, generator=generator)
            tensors[name] = numbers.mul_(1 / math.sqrt(math.prod(like.shape[1:]))).half()
        else:
            first = 1.0 if name.endswith("weight") else 0.0
            tensors[name] = torch.full(like.shape, first, dtype=torch.float16)
    return tensors
