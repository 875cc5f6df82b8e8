"""Tensors of unfinished work in one safetensors file that is either whole or known not to be.

Beside the tensors stand a header, plain JSON values, and a SHA-256 over names, types, shapes, bytes
and header. A long clip's latents are hashed in pieces and written from where they lie: they are
never in memory twice.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from animate import files
from animate.errors import WorkError

_PIECE = 1 << 20


def write_tensors(path: Path, header: Mapping[str, object], tensors: Mapping[str, Tensor]) -> None:
    """Write atomically and to the disk itself. Operating system errors pass through.

    header: plain JSON values
    tensors: of any shape, type and device
    """
    text = json.dumps(dict(header))
    metadata = {"header": text, "sha256": _digest(text, tensors)}
    if not path.parent.is_dir():  # it has been removed, and must not come back by this
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
    # The library first writes a file of a name of its own beside the one that it is given. In a
    # folder of ours it is known, and goes, after a kill.
    with files.gathered_folder(path.parent) as partial:
        try:
            save_file(_apart(tensors), partial / path.name, metadata)
        except SafetensorError as reason:  # the library's name for a full disk as well
            raise OSError(str(reason)) from reason


def read_tensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors, on the host. Raises WorkError when the file is not what was written."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copies: the file may go while they are used.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        if metadata["sha256"] != _digest(metadata["header"], tensors):
            raise ValueError("its checksum does not fit its contents")
        header = json.loads(metadata["header"])
        if not isinstance(header, dict):
            raise ValueError("its header is no object")
    except (OSError, ValueError, KeyError, RecursionError, SafetensorError) as reason:
        raise WorkError(f"{path} is damaged: {reason}") from reason
    return header, tensors


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the host, contiguous, none in the memory of another."""
    storages: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        host = tensor.detach().cpu().contiguous()
        if host.untyped_storage().data_ptr() in storages or host.untyped_storage().nbytes() != (
            host.numel() * host.element_size()
        ):
            host = host.clone()
        storages.add(host.untyped_storage().data_ptr())
        separate[name] = host
    return separate


def _digest(header: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\0{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        for piece in _pieces(tensor):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(tensor: Tensor) -> Iterator[memoryview]:
    """The tensor's bytes; those on a device come over a piece at a time."""
    flat = tensor.detach().reshape(-1)
    each = max(1, _PIECE // tensor.element_size())
    for start in range(0, flat.numel(), each):
        yield flat[start : start + each].cpu().contiguous().view(torch.uint8).numpy().data
