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

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from animate.errors import ModelError
from animate.files import check_readable, sha256
from animate.models.store import parse_json, read_json
from animate.models.weight_files import LARGEST_WEIGHT, fault_of, read_weights
from animate.request.wording import listed, quoted

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors", "adapter_model.bin")
METADATA = "lora_adapter_metadata"
"""Name in a safetensors file's metadata under which diffusers states the sizes."""

_DOWN = re.compile(r"(?:\.lora_A|\.lora\.down|\.lora_down|_lora\.down)(?:\.\w+)?\.weight$")
_UP = re.compile(r"(?:\.lora_B|\.lora\.up|\.lora_up|_lora\.up)(?:\.\w+)?\.weight$")
_ALPHA = re.compile(r"\.alpha$")
_KINDS = {"down": _DOWN, "up": _UP, "alpha": _ALPHA}
_PREFIXES = ("base_model.model.", "unet.")
_KOHYA = "lora_unet_"
_PLAIN_NAME = re.compile(r"[\w.-]{1,200}")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Factors of the update that an adapter adds to one layer."""

    down: Tensor
    """(r,i,...)."""
    up: Tensor
    """(o,r,...)."""
    scale: float
    """alpha / r, 1 where nothing is stated."""

    def product(self) -> Tensor:
        """(o,i,...) in float32, the update at the strength 1."""
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
    raise ModelError(
        f"adapter folder {path} holds none of {', '.join(WEIGHTS)}; name the file itself"
    )


def read_adapter(path: Path, layers: Collection[str]) -> Adapter:
    """The adapter in a file or folder, for a network with layers of these names.

    Raises `ModelError` when the file is damaged, of a kind that is not a plain LoRA, or holds
    anything that is not understood: nothing in it is ever left out.
    """
    file = adapter_file(path)
    tensors = read_weights(file)
    scales = _read_scales(file)
    known = {name.replace(".", "_"): name for name in layers}
    parts: dict[str, dict[str, Tensor]] = {}
    unknown = []
    for key, tensor in tensors.items():
        kind = next((k for k, pattern in _KINDS.items() if pattern.search(key)), None)
        if kind is None:
            unknown.append(key)
            continue
        if kind != "alpha" and (fault := fault_of(tensor)):
            raise ModelError(f"adapter {file}: {key} {fault}; use another adapter")
        parts.setdefault(_layer_name(_KINDS[kind].sub("", key), known), {})[kind] = tensor
    half = [name for name, part in parts.items() if not {"down", "up"} <= set(part)]
    if not tensors:
        raise ModelError(f"adapter {file} holds no weights at all; use another adapter")
    if unknown or half:
        raise ModelError(
            f"adapter {file} is not a plain LoRA: {listed([*unknown, *half])} is not understood "
            "(DoRA, LoHa, LoKr and biases are not supported); save it as a plain LoRA"
        )
    pairs = {name: _read_layer(name, part, scales, file) for name, part in parts.items()}
    return Adapter(path=path, sha256=sha256(file), layers=pairs)


def _layer_name(name: str, known: Mapping[str, str]) -> str:
    """A layer's name in the network, from whatever the file calls it."""
    if name.startswith(_KOHYA):
        flat = name.removeprefix(_KOHYA)
        return known.get(flat, flat)
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    # Older diffusers: attention processors held the factors.
    name = name.replace(".processor.", ".")
    return f"{name}.0" if name.endswith(".to_out") else name


def _read_layer(name: str, part: Mapping[str, Tensor], scales: _Scales, file: Path) -> Layer:
    down, up = part["down"], part["up"]
    fit = down.ndim >= 2 and up.ndim >= 2 and down.numel() and up.numel()
    if not fit or up.shape[1] != down.shape[0] or up[0, 0].numel() != 1:
        raise ModelError(
            f"adapter {file}: {name} has factors of shapes {tuple(down.shape)} and "
            f"{tuple(up.shape)}, which do not belong together; use another adapter"
        )
    rank = down.shape[0]
    alpha = scales.alpha(name)
    if "alpha" in part:
        if part["alpha"].numel() != 1:
            raise ModelError(
                f"adapter {file}: the alpha of {name} is {part['alpha'].numel()} numbers, not one; "
                "use another adapter"
            )
        alpha = _alpha(part["alpha"].item(), f"the alpha of {name}", file)
    scale = 1.0 if alpha is None else alpha / (rank**0.5 if scales.rooted else rank)
    return Layer(down=down, up=up, scale=scale)


@dataclass(frozen=True, kw_only=True)
class _Scales:
    """Scales that a file states outside its tensors."""

    general: float | None = None
    by_name: Mapping[str, float]
    rooted: bool = False

    def alpha(self, layer: str) -> float | None:
        """The alpha of a layer; names stated for some layers match at the end of theirs."""
        for name, value in self.by_name.items():
            if layer == name or layer.endswith(f".{name}"):
                return value
        return self.general


def _read_scales(file: Path) -> _Scales:
    """The scales in a file's metadata or in the configuration beside it, every value checked."""
    stated, source = _read_stated(file)
    if _switch(stated, "use_dora", source):
        raise ModelError(f"adapter {file} is a DoRA, which is not supported; use a plain LoRA")
    patterns = stated.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise ModelError(f"{source}: alpha_pattern must hold names with numbers")
    by_name = {}
    for name, value in patterns.items():
        plain = name.removeprefix("^").removesuffix("$")
        if not _PLAIN_NAME.fullmatch(plain):
            raise ModelError(
                f"{source}: alpha_pattern {quoted(name)} is no name of a layer, and patterns are "
                "not supported; save the adapter with a name for each layer"
            )
        by_name[plain] = _alpha(value, f"alpha_pattern {plain}", source)
    general = stated.get("lora_alpha")
    return _Scales(
        general=None if general is None else _alpha(general, "lora_alpha", source),
        by_name=by_name,
        rooted=_switch(stated, "use_rslora", source),
    )


def _switch(stated: Mapping[str, object], name: str, source: Path) -> bool:
    value = stated.get(name)
    if value not in (None, False, True) or isinstance(value, float):
        raise ModelError(f"{source}: {name} must be true or false, not {quoted(value)}")
    return bool(value)


def _alpha(value: object, name: str, source: Path) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # Compared as they are: whole numbers in JSON may fit no float, and NaN is within no bound.
    if not number or not abs(value) <= LARGEST_WEIGHT:  # type: ignore[arg-type]
        raise ModelError(f"{source}: {name} must be a finite number, not {quoted(value)}")
    return float(value)  # type: ignore[arg-type]


def _read_stated(file: Path) -> tuple[dict[str, object], Path]:
    """The configuration that belongs to an adapter file, and the file that it stands in."""
    config = file.parent / CONFIG
    if file.name.startswith("adapter_model.") and config.is_file():
        return read_json(config), config
    if file.suffix != ".safetensors":
        return {}, file
    try:
        with safe_open(file, "pt") as opened:
            text = (opened.metadata() or {}).get(METADATA)
    except (SafetensorError, OSError, ValueError) as reason:
        raise ModelError(f"adapter {file} is damaged ({reason}); copy it again") from reason
    if not text:
        return {}, file
    values = parse_json(text.encode(errors="surrogatepass"), file)
    return {k.removeprefix("unet."): v for k, v in values.items() if k.startswith("unet.")}, file
