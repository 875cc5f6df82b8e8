"""Checkpoints: whole or absent, and only taken up by the recipe that wrote them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from animate.errors import TrainingError
from animate.files import atomic


def digest_of(values: Any) -> str:
    """SHA-256 in hexadecimal of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def save_checkpoint(path: Path, state: Mapping[str, object]) -> None:
    """Write tensors and plain values; a crash leaves the previous checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as partial:
        torch.save(state, partial)


def load_checkpoint(path: Path, digest: str, key: str = "digest") -> dict[str, Any] | None:
    """The state in `path`, or None when there is none.

    `key` is what the digest is compared with: "digest" of all that decides the weights, or "recipe"
    of the recipe and its base without the data. Raises `TrainingError` when the state is damaged or
    another recipe's.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError) as reason:
        raise TrainingError(
            f"checkpoint {path} cannot be read ({reason}); remove it to start again"
        ) from reason
    if state.get(key) != digest:
        writer = (
            "another recipe, or from another base or other data"
            if "recipe" in state
            else ("another recipe")
        )
        raise TrainingError(
            f"checkpoint {path} was written by {writer}; change the recipe's folder, or remove the "
            "checkpoint to start again"
        )
    return state


def remove(path: Path) -> None:
    """Remove a checkpoint if it is there."""
    if path.exists():
        os.unlink(path)
