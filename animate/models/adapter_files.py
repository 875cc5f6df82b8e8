"""Read low-rank adapters (LoRA) as peft, diffusers and kohya's scripts write them.

An adapter adds `scale * up @ down` to a layer's weight. Files differ in what they call the two
factors, how they name layers, and where they state the scale:

- peft: `base_model.model.LAYER.lora_A.weight`, sizes in `adapter_config.json` beside the file;
- diffusers: `unet.LAYER.lora_A.weight`, sizes in the file's metadata; older ones
  `unet.LAYER.lora.down.weight`, or `LAYER.processor.to_q_lora.down.weight`;
- kohya: `lora_unet_LAYER_WITH_UNDERSCORES.lora_down.weight`, with `alpha` as a tensor.

Shapes: r rank, i inputs, o outputs; kernels of convolutions have their extent behind these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from animate.errors import ModelError
from animate.files import check_readable, sha256
from animate.models.weight_files import read_weights

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors", "adapter_model.bin")
METADATA = "lora_adapter_metadata"
"""Where diffusers states the sizes in a safetensors file."""

_DOWN = re.compile(r"(?:\.lora_A|\.lora\.down|\.lora_down|_lora\.down)(?:\.\w+)?\.weight$")
_UP = re.compile(r"(?:\.lora_B|\.lora\.up|\.lora_up|_lora\.up)(?:\.\w+)?\.weight$")
_ALPHA = re.compile(r"\.alpha$")
_PREFIXES = ("base_model.model.", "unet.")
_KOHYA = "lora_unet_"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What an adapter adds to one layer."""

    down: Tensor
    """(r,i,...)."""
    up: Tensor
    """(o,r,...)."""
    scale: float
    """alpha / r, 1 where nothing is stated."""

    def product(self) -> Tensor:
        """(o,i,...) in float32, what is added at the strength 1."""
        flat = self.up.float().flatten(1) @ self.down.float().flatten(1)
        return (self.scale * flat).reshape(self.up.shape[0], *self.down.shape[1:])


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A read adapter file; layers by the UNet's names for their weights' owners."""

    path: Path
    sha256: str
    layers: Mapping[str, Layer]


def adapter_file(path: Path) -> Path:
    """The file itself where a folder is named that holds one."""
    if not path.is_dir():
        return check_readable(path, "adapter", ModelError)
    for name in WEIGHTS:
        if (path / name).is_file():
            return path / name
    raise ModelError(f"adapter folder {path} holds none of {', '.join(WEIGHTS)}")


def read_adapter(path: Path, layers: Collection[str]) -> Adapter:
    """The adapter in a file or folder, for a network with layers of these names.

    Raises `ModelError` when the file is damaged, of a kind that is not a plain LoRA, or holds
    anything that is not understood: nothing in it is ever left out.
    """
    file = adapter_file(path)
    tensors = read_weights(file)
    sizes = _sizes(file)
    known = {name.replace(".", "_"): name for name in layers}
    parts: dict[str, dict[str, Tensor]] = {}
    strange = []
    for key, tensor in tensors.items():
        kind = next((k for k, p in _KINDS.items() if p.search(key)), None)
        if kind is None:
            strange.append(key)
            continue
        parts.setdefault(_layer(_KINDS[kind].sub("", key), known), {})[kind] = tensor
    half = [name for name, part in parts.items() if not {"down", "up"} <= set(part)]
    if strange or half:
        raise ModelError(
            f"adapter {file} is not a plain LoRA: {_some([*strange, *half])} is not understood "
            "(DoRA, LoHa, LoKr and biases are not supported); save it as a plain LoRA"
        )
    made = {name: _made(name, part, sizes, file) for name, part in parts.items()}
    return Adapter(path=path, sha256=sha256(file), layers=made)


_KINDS = {"down": _DOWN, "up": _UP, "alpha": _ALPHA}


def _layer(name: str, known: Mapping[str, str]) -> str:
    """A layer's name in the network, from whatever the file calls it."""
    if name.startswith(_KOHYA):
        flat = name.removeprefix(_KOHYA)
        return known.get(flat, flat)
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    # Older diffusers: attention processors held the factors.
    name = name.replace(".processor.", ".")
    return f"{name}.0" if name.endswith(".to_out") else name


def _made(name: str, part: Mapping[str, Tensor], sizes: _Sizes, file: Path) -> Layer:
    down, up = part["down"], part["up"]
    rank = down.shape[0]
    if down.ndim < 2 or up.ndim < 2 or up.shape[1] != rank or up[0, 0].numel() != 1:
        raise ModelError(
            f"adapter {file}: {name} has factors of shapes {tuple(down.shape)} and "
            f"{tuple(up.shape)}, which do not belong together"
        )
    alpha = float(part["alpha"]) if "alpha" in part else sizes.alpha(name)
    scale = 1.0 if alpha is None else alpha / (rank**0.5 if sizes.rooted else rank)
    return Layer(down=down, up=up, scale=scale)


@dataclass(frozen=True, kw_only=True)
class _Sizes:
    """What is stated about the scale outside the tensors."""

    general: float | None = None
    by_name: Mapping[str, float]
    rooted: bool = False

    def alpha(self, layer: str) -> float | None:
        """peft matches the names of its patterns at the end of a layer's name."""
        for name, value in self.by_name.items():
            if layer == name or layer.endswith(f".{name}") or re.search(rf"(^|\.){name}$", layer):
                return value
        return self.general


def _sizes(file: Path) -> _Sizes:
    stated: dict[str, Any] = {}
    config = file.parent / CONFIG
    if file.name.startswith("adapter_model.") and config.is_file():
        stated = _json(config.read_text(encoding="utf-8"), config)
    elif file.suffix == ".safetensors":
        with safe_open(file, "pt") as opened:
            kept = (opened.metadata() or {}).get(METADATA)
        if kept:
            found = _json(kept, file)
            stated = {k.removeprefix("unet."): v for k, v in found.items() if k.startswith("unet.")}
    if stated.get("use_dora"):
        raise ModelError(f"adapter {file} is a DoRA, which is not supported; use a plain LoRA")
    return _Sizes(
        general=stated.get("lora_alpha"),
        by_name=stated.get("alpha_pattern") or {},
        rooted=bool(stated.get("use_rslora")),
    )


def _json(text: str, file: Path) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as reason:
        raise ModelError(f"{file} is not readable JSON ({reason}); copy it again") from reason
    if not isinstance(content, dict):
        raise ModelError(f"{file} must hold names with values")
    return content


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
