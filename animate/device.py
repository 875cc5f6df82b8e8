"""Which device computes, and in which precision."""

from __future__ import annotations

import torch

from animate.errors import RequestError
from animate.request.request import Precision


def choose_device(name: str) -> torch.device:
    """`auto` takes the first CUDA device where there is one, else the CPU.

    Raises RequestError when the device named is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise RequestError(f"device {name}: this torch sees no CUDA device; use --device cpu")
        if device.index is not None and device.index >= torch.cuda.device_count():
            raise RequestError(
                f"device {name} is not there; there are {torch.cuda.device_count()}, from cuda:0"
            )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise RequestError("device mps is not there; use --device cpu")
    return device


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """`auto` is float16 on a GPU, as the published code runs, and float32 elsewhere."""
    if precision == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if precision == "int8":  # weights only: what computes is the automatic precision
        return choose_dtype("auto", device)
    return {
        "float32": torch.float32,
        "float16": torch.float16,
        "bfloat16": torch.bfloat16,
    }[precision]


def precision_of(network: torch.nn.Module) -> str:
    """The type of a network's weights: `int8` where any are, else the name of their type."""
    kinds = {parameter.dtype for parameter in network.parameters()}
    kind = torch.int8 if torch.int8 in kinds else next(network.parameters()).dtype
    return str(kind).removeprefix("torch.")


def peak_device_bytes(device: torch.device) -> int | None:
    """The most memory that torch has allocated on a GPU so far; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
