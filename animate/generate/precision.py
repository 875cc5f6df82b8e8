"""The type that a model computes in where a request leaves it open: by device, size and weights."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch

from animate.device import choose_dtype
from animate.models.store import ModelFile
from animate.models.variants import ModelVariant
from animate.models.weight_files import read_weights
from animate.request.request import Precision

LARGE = 200_000_000
"""Parameters of a UNet from which a processor's bfloat16 instructions decide its time; the bundled
model has 12 million, the published ones 1,525 million."""


def model_dtype(variant: ModelVariant, precision: Precision, device: torch.device) -> torch.dtype:
    """The type that the networks of a variant compute in. Its files may be elsewhere."""
    files = [variant.file(name) for name in variant.components["unet"].weights]
    stored = stored_type(files[-1])
    large = parameters_of(files, stored) >= LARGE
    return choose_dtype(precision, device, stored, large=large)


def stored_type(file: ModelFile) -> torch.dtype | None:
    """Type of the first floating tensor of a weight file, whose numbers are not read; None where
    the file is not here or not to be mapped."""
    path = file.locate()
    if path is None:
        return None
    if path.suffix == ".safetensors":
        return _stored_in_safetensors(path)
    if not zipfile.is_zipfile(path):  # it would have to be read whole
        return None
    tensors = read_weights(path).values()
    return next((t.dtype for t in tensors if t.is_floating_point()), None)


def _stored_in_safetensors(path: Path) -> torch.dtype | None:
    from safetensors import SafetensorError, safe_open

    names = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
    try:
        with safe_open(path, framework="pt") as tensors:
            kinds = (tensors.get_slice(name).get_dtype() for name in tensors.keys())  # noqa: SIM118
            return next((names[kind] for kind in kinds if kind in names), None)
    except (SafetensorError, OSError):
        return None  # what is wrong with it is said when it is loaded


def parameters_of(files: list[ModelFile], stored: torch.dtype | None) -> int:
    """Parameters of a network by the size of its largest file; `LARGE` for one that is elsewhere,
    as only large ones are."""
    paths = [file.locate() for file in files]
    sizes = [path.stat().st_size for path in paths if path is not None]
    if not sizes:
        return LARGE
    return max(sizes) // (stored.itemsize if stored is not None else 4)
