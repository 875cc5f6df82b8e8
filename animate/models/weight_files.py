"""Weight files into networks: tensors only, never code, and no name goes unreported.

`.safetensors` files, and pickles (`.bin`, `.pt`, `.pth`, `.ckpt`) through torch's restricted
loader, which refuses everything but tensors and plain containers.
"""

from __future__ import annotations

import logging
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from animate.errors import ModelError
from animate.files import check_readable

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_SHOWN = 3
"""Names that a message spells out before it only counts."""

# What torch's restricted loader says of a pickle that names a function or class.
_CODE = re.compile(r"(?:GLOBAL|Unsupported class|reduce for) (\S+)")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WeightReport:
    """What became of the names in a weight file."""

    source: str
    """The file."""
    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()
    """Names of the network that the file does not hold."""
    unexpected: tuple[str, ...] = ()
    """Names in the file that the network does not have."""

    def summary(self) -> str:
        """One line for a person."""
        parts = [f"{len(self.loaded)} tensors"]
        if self.missing:
            parts.append(f"{len(self.missing)} not in the file ({_some(self.missing)})")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} unexpected ({_some(self.unexpected)})")
        return f"{self.source}: {', '.join(parts)}"


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors by name, on the CPU, in the precision that the file has.

    Raises `ModelError` when the file is absent, empty, truncated, of another kind, or holds
    anything but named tensors; a pickle with code in it is refused unread.
    """
    place = check_readable(path, "weight file", ModelError)
    if place.suffix == ".safetensors":
        try:
            return load_file(place)
        except (SafetensorError, OSError, ValueError) as reason:
            raise ModelError(
                f"weight file {place} is damaged or truncated ({reason}); fetch it again"
            ) from reason
    if place.suffix in PICKLES:
        return _tensors(_read_pickle(place), place)
    raise ModelError(
        f"weight file {place} is neither .safetensors nor a pickle ({', '.join(PICKLES)})"
    )


def _read_pickle(place: Path) -> Any:
    try:
        # The older format, without a zip archive, cannot be mapped into memory.
        mapped = zipfile.is_zipfile(place)
        with warnings.catch_warnings():
            # Of a pickle protocol that torch does not write; what matters is raised or read.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(place, map_location="cpu", weights_only=True, mmap=mapped)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        OSError,
    ) as reason:
        code = _CODE.search(str(reason))
        if code:
            raise ModelError(
                f"weight file {place} holds more than tensors ({code[1]}) and may run code when it "
                "is opened, so it was not opened; use a .safetensors file, or save its state dict "
                "alone with torch.save"
            ) from reason
        raise ModelError(
            f"weight file {place} is damaged, truncated or no weight file at all; fetch it again"
        ) from reason


def _tensors(content: Any, place: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise ModelError(f"weight file {place} holds no named tensors but {type(content).__name__}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ModelError(
                f"weight file {place} holds {type(value).__name__} under {name!r}; only tensors "
                "by name are weights"
            )
    return dict(content)


def apply_weights(
    network: nn.Module, weights: Mapping[str, Tensor], source: str | Path, *, partial: bool = False
) -> WeightReport:
    """Put `weights` into `network`, in the network's precision, and report every name.

    Networks built without memory (on the meta device) take the tensors over. With `partial`,
    names of the network may be missing, as in files that hold only the learned parameters.
    Raises `ModelError` for wrong shapes, for missing names unless `partial`, and when no name fits
    at all; then the network is as it was. Unexpected names are logged as a warning.
    """
    own = network.state_dict()
    loaded = tuple(name for name in weights if name in own)
    report = WeightReport(
        source=str(source),
        loaded=loaded,
        missing=tuple(name for name in own if name not in weights),
        unexpected=tuple(name for name in weights if name not in own),
    )
    if not loaded:
        raise ModelError(
            f"weight file {source} holds none of the {len(own)} tensors of a "
            f"{type(network).__name__}, but {_some(tuple(weights))}; is it for another network?"
        )
    _check_shapes(own, weights, loaded, source)
    if report.missing and not partial:
        raise ModelError(
            f"weight file {source} lacks {len(report.missing)} of the {len(own)} tensors of a "
            f"{type(network).__name__} ({_some(report.missing)}); fetch it again, or name the "
            "complete file before it if it holds only the learned parameters"
        )
    _log.log(logging.WARNING if report.unexpected else logging.INFO, "%s", report.summary())
    _put(network, own, {name: weights[name] for name in loaded})
    return report


def _check_shapes(
    own: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    names: Sequence[str],
    source: str | Path,
) -> None:
    wrong = [name for name in names if weights[name].shape != own[name].shape]
    if wrong:
        shown = "; ".join(
            f"{name} is {_shape(weights[name])} where the network has {_shape(own[name])}"
            for name in wrong[:_SHOWN]
        )
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise ModelError(
            f"weight file {source} does not fit the network's sizes: {shown}{more}; choose the "
            "model variant that the file was made for"
        )


def _put(network: nn.Module, own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    # `assign` keeps the tensor itself, so it must have the precision that the network declares.
    absent = {
        name: value.to(own[name].dtype) for name, value in weights.items() if own[name].is_meta
    }
    network.load_state_dict(absent, strict=False, assign=True)
    with torch.no_grad():
        for name, value in weights.items():
            if name not in absent:
                own[name].copy_(value)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
