"""Weight files into networks: tensors only, never code, and no name goes unreported.

Numbers are looked at once, when they enter a network: a weight that is not finite, or far beyond
what any training leaves, makes a black or a wrong clip and is refused by file and name.

`.safetensors` files, and pickles (`.bin`, `.pt`, `.pth`, `.ckpt`) through torch's restricted
loader, which refuses everything but tensors and plain containers.
"""

from __future__ import annotations

import logging
import math
import pickle
import re
import threading
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from animate.errors import ModelError
from animate.files import check_readable
from animate.request.wording import listed

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
LARGEST_WEIGHT = 65504.0
"""The largest float16. Trained weights lie orders below it; beyond it a file is damaged or forged,
and half precision would make it infinite."""

_ALIGNMENT = 64
"""Bytes at whose multiples torch puts its own tensors."""

# Words of torch's restricted loader about a pickle that names a function or class.
_CODE = re.compile(r"(?:GLOBAL|Unsupported class|reduce for) (\S+)")

_log = logging.getLogger(__name__)
_warning_filters = threading.Lock()
"""Python's filters of warnings belong to the process, and are changed by one thread at a time."""


@dataclass(frozen=True, kw_only=True)
class WeightReport:
    """Names of a weight file, by what became of them."""

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
            parts.append(f"{len(self.missing)} not in the file ({listed(self.missing)})")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} unexpected ({listed(self.unexpected)})")
        return f"{self.source}: {', '.join(parts)}"


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors by name, on the CPU, in the precision that the file has.

    Raises `ModelError` when the file is absent, empty, truncated, of another kind, or holds
    anything but named tensors; a pickle with code in it is refused unread.
    """
    file = check_readable(path, "weight file", ModelError)
    if file.suffix == ".safetensors":
        with _refused_damage(file):
            return load_file(file)
    if file.suffix in PICKLES:
        return _tensors(_read_pickle(file), file)
    raise ModelError(
        f"weight file {file} is neither .safetensors nor a pickle ({', '.join(PICKLES)})"
    )


def check_weight_file(path: Path) -> None:
    """Raise `ModelError` for a file that cannot be read, or whose size is not what it says of
    itself; no more than its head is read."""
    check_readable(path, "weight file", ModelError)
    if path.suffix == ".safetensors":
        with _refused_damage(path), safe_open(path, framework="pt"):
            pass


@contextmanager
def _refused_damage(file: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError, ValueError) as reason:
        raise ModelError(
            f"weight file {file} is damaged or truncated ({reason}); fetch it again"
        ) from reason


def _read_pickle(file: Path) -> Any:
    try:
        # The older format, without a zip archive, cannot be mapped into memory.
        mapped = zipfile.is_zipfile(file)
        with _warning_filters, warnings.catch_warnings():
            # About a pickle protocol that torch does not write; all that matters raises.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
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
                f"weight file {file} holds more than tensors ({code[1]}) and may run code when it "
                "is opened, so it was not opened; use a .safetensors file, or save its state dict "
                "alone with torch.save"
            ) from reason
        raise ModelError(
            f"weight file {file} is damaged, truncated or no weight file at all; fetch it again"
        ) from reason


def _tensors(content: Any, file: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise ModelError(f"weight file {file} holds no named tensors but {type(content).__name__}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ModelError(
                f"weight file {file} holds {type(value).__name__} under {name!r}; only tensors "
                "by name are weights"
            )
    return dict(content)


def without_prefix(weights: Mapping[str, Tensor], prefix: str) -> Mapping[str, Tensor]:
    """The tensors of one network of a file that holds several, by the network's own names; all of
    them where no name begins with `prefix`."""
    chosen = {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }
    return chosen or weights


def apply_weights(
    network: nn.Module, weights: Mapping[str, Tensor], source: str | Path, *, partial: bool = False
) -> WeightReport:
    """Put `weights` into `network`, in the network's precision, and report every name.

    Networks built without memory (on the meta device) take the tensors over. With `partial`,
    names of the network may be missing, as in files that hold only the learned parameters.
    Raises `ModelError` for wrong shapes, for missing names unless `partial`, and when no name fits
    at all; then the network is as it was. Unexpected names are logged as a warning.
    """
    state = network.state_dict()
    loaded = tuple(name for name in weights if name in state)
    report = WeightReport(
        source=str(source),
        loaded=loaded,
        missing=tuple(name for name in state if name not in weights),
        unexpected=tuple(name for name in weights if name not in state),
    )
    if not loaded:
        raise ModelError(
            f"weight file {source} holds none of the {len(state)} tensors of a "
            f"{type(network).__name__}, but {listed(tuple(weights))}; is it for another network?"
        )
    _check_shapes(state, weights, loaded, source)
    _check_numbers(state, weights, loaded, source)
    if report.missing and not partial:
        raise ModelError(
            f"weight file {source} lacks {len(report.missing)} of the {len(state)} tensors of a "
            f"{type(network).__name__} ({listed(report.missing)}); fetch it again, or name the "
            "complete file before it if it holds only the learned parameters"
        )
    _log.log(logging.WARNING if report.unexpected else logging.INFO, "%s", report.summary())
    _put(network, state, {name: weights[name] for name in loaded})
    return report


def _check_shapes(
    state: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    names: Sequence[str],
    source: str | Path,
) -> None:
    wrong = [name for name in names if weights[name].shape != state[name].shape]
    if wrong:
        sizes = [
            f"{name} is {_shape(weights[name])} where the network has {_shape(state[name])}"
            for name in wrong
        ]
        faults = listed(sizes, separator="; ")
        raise ModelError(
            f"weight file {source} does not fit the network's sizes: {faults}; choose the model "
            "variant that the file was made for"
        )


def _check_numbers(
    state: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    names: Sequence[str],
    source: str | Path,
) -> None:
    for name in names:
        if state[name].is_floating_point() and (fault := fault_of(weights[name])):
            raise ModelError(
                f"weight file {source}: {name} {fault}; fetch the file again, or save it once more "
                "from the model that it came from"
            )


def fault_of(tensor: Tensor) -> str | None:
    """The reason why a tensor cannot be weights of a network, as the end of a sentence; None for
    sound ones."""
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        return f"holds {kind} numbers where floating-point weights are needed"
    if tensor.numel() == 0:
        return None
    # One pass over the numbers, at the speed of memory: NaN passes through, infinity is an end.
    exact = tensor.float() if tensor.dtype.itemsize == 1 else tensor
    least, most = (float(value) for value in torch.aminmax(exact))
    if math.isnan(least) or math.isinf(least) or math.isinf(most):
        return "holds NaN or infinite numbers"
    largest = max(-least, most)
    if largest > LARGEST_WEIGHT:
        return f"holds numbers up to {largest:.3g}, beyond any trained weight ({LARGEST_WEIGHT:g})"
    return None


def _put(network: nn.Module, state: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    # `assign` keeps the tensor itself, so it must have the precision that the network declares.
    absent = {
        name: _aligned(value.to(state[name].dtype))
        for name, value in weights.items()
        if state[name].is_meta
    }
    network.load_state_dict(absent, strict=False, assign=True)
    with torch.no_grad():
        for name, value in weights.items():
            if name not in absent:
                state[name].copy_(value)


def _aligned(tensor: Tensor) -> Tensor:
    """The tensor where a product with it has the same bits whatever file it came from.

    A file is mapped into memory and a tensor begins at any eighth byte of it, where matrix
    libraries multiply a single row in another order. Halves are widened or go to a card first.
    """
    if tensor.dtype == torch.float32 and tensor.data_ptr() % _ALIGNMENT:
        return tensor.clone()
    return tensor


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"
