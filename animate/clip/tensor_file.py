"""Tensors in one file that is either whole or known not to be.

A line of JSON, the tensors' bytes one after another, and the SHA-256 of all that. It is written
and read in pieces: a long clip's latents are never in memory twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from animate import files
from animate.errors import WorkError

_PIECE = 1 << 20
_DIGEST_BYTES = 32
_LONGEST_HEADER = 1 << 20


def write_record(path: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write atomically and to the disk itself. Operating system errors pass through.

    header: plain JSON values
    tensors: of any shape, type and device
    """
    shapes = [
        {"name": name, "shape": list(tensor.shape), "dtype": _dtype_name(tensor)}
        for name, tensor in tensors.items()
    ]
    first = json.dumps({"header": dict(header), "tensors": shapes}).encode() + b"\n"
    digest = hashlib.sha256(first)
    with files.atomic(path, follow=False) as partial, open(partial, "wb") as file:
        file.write(first)
        for tensor in tensors.values():
            for piece in _pieces(tensor):
                digest.update(piece)
                file.write(piece)
        file.write(digest.digest())


def read_record(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors, on the host. Raises WorkError when the file is not what was written."""
    try:
        _check(path)
        with open(path, "rb") as file:
            given = json.loads(file.readline())
            tensors = {}
            for entry in given["tensors"]:
                dtype = getattr(torch, entry["dtype"])
                tensor = torch.empty(entry["shape"], dtype=dtype)
                if tensor.numel():
                    file.readinto(_bytes_of(tensor))
                tensors[entry["name"]] = tensor
        return given["header"], tensors
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as reason:
        raise WorkError(f"{path} is damaged: {reason}") from reason


def _check(path: Path) -> None:
    left = path.stat().st_size - _DIGEST_BYTES
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while left > 0:
            piece = file.read(min(_PIECE, left))
            if not piece:
                break
            digest.update(piece)
            left -= len(piece)
        if left or file.read() != digest.digest():
            raise ValueError("its checksum does not fit its contents")


def _pieces(tensor: Tensor) -> Iterator[memoryview]:
    """The tensor's bytes; what lies on a device comes over a piece at a time."""
    flat = tensor.detach().reshape(-1)
    each = max(1, _PIECE // tensor.element_size())
    for start in range(0, flat.numel(), each):
        yield _bytes_of(flat[start : start + each].cpu().contiguous())


def _bytes_of(tensor: Tensor) -> memoryview:
    """What lies in a tensor that is contiguous, to read and to write."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
