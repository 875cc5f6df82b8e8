"""The changes of a fine-tuning, as one file: shared without the base, applied to another base.

The file holds the UNet's differences (`unet.NAME`, tuned minus base, only where there is any) and
the control network whole (`controlnext.NAME`), with the tuned variant's constants and the shapes of
the UNet in its metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from animate.errors import ModelError
from animate.files import check_output, check_readable, gathered_folder
from animate.models.components import Components, build_control_network, save_model
from animate.models.store import parse_json
from animate.models.variants import CONTROL_SECTIONS, ModelVariant, upgraded
from animate.models.weight_files import apply_weights, fault_of, read_weights
from animate.request.schema import build
from animate.request.wording import listed

_FORMAT, _VERSION = "cnx_delta", "1"


@dataclass(frozen=True, kw_only=True)
class DeltaReport:
    """Contents of a delta file."""

    changed: int
    """Tensors of the UNet that differ."""
    tensors: int
    """Tensors of the UNet in all."""
    base: str
    """Name of the variant that it was made against."""


def save_delta(
    base: Components, tuned: Components, path: Path, *, overwrite: bool = False
) -> DeltaReport:
    """Write what `tuned` has that `base` has not, in float16.

    Raises `ModelError` when the two are of different architectures, or the file cannot be written.
    """
    check_output(path, overwrite=overwrite, role="delta file", error=ModelError)
    old, new = base.unet.state_dict(), tuned.unet.state_dict()
    _check_same(_shapes(old), _shapes(new), "the base", "the tuned model")
    tensors: dict[str, Tensor] = {}
    for name, value in new.items():
        if not torch.equal(value, old[name]):
            tensors[f"unet.{name}"] = (value.float() - old[name].float()).half()
    changed = len(tensors)
    for name, value in tuned.controlnext.state_dict().items():
        tensors[f"controlnext.{name}"] = value.half().contiguous()
    metadata = {
        _FORMAT: _VERSION,
        "base": base.variant.name,
        "shapes": json.dumps(_shapes(new)),
        "variant": json.dumps(_constants(tuned.variant)),
    }
    with gathered_folder(path.parent) as folder:  # the library leaves another file when killed
        save_file(tensors, folder / path.name, metadata=metadata)
        (folder / path.name).chmod(0o644)
    return DeltaReport(changed=changed, tensors=len(new), base=base.variant.name)


def apply_delta(
    path: Path, base: Components, folder: Path, *, overwrite: bool = False
) -> ModelVariant:
    """Write `base` with a delta as a new model folder; returns its variant.

    Raises `ModelError` when the file is none, or was made for another architecture, naming the
    first tensors that differ.
    """
    metadata = _metadata(path)
    shapes = parse_json(metadata.get("shapes", "").encode(), path)
    if not all(isinstance(shape, list) for shape in shapes.values()):
        raise ModelError(f"delta {path}: shapes must hold lists of sizes; make the delta again")
    weights = base.unet.state_dict()
    _check_same(shapes, _shapes(weights), f"delta {path}", f"base {base.variant.name}")
    constants = parse_json(metadata.get("variant", "").encode(), path)
    fields = {**base.variant.to_dict(), **upgraded(constants)}
    described = build(ModelVariant, fields, f"delta {path}", ModelError)
    variant = replace(described, sources={}, digests={})
    changes, control = _read_changes(path, weights)
    with torch.no_grad():
        for name, value in changes.items():
            weights[name].copy_((weights[name].float() + value.float()).to(weights[name].dtype))
    controlnext = build_control_network(variant.control_network)
    apply_weights(controlnext, control, path)
    networks: dict[str, nn.Module] = {
        "unet": base.unet,
        "vae": base.vae,
        "image_encoder": base.image_encoder,
        "controlnext": controlnext,
    }
    return save_model(folder, variant, networks, overwrite=overwrite)


def _read_changes(
    path: Path, weights: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Differences of the UNet with these weights, and the control network's own weights."""
    changes: dict[str, Tensor] = {}
    control: dict[str, Tensor] = {}
    for name, value in read_weights(path).items():
        network, _, inner = name.partition(".")
        if fault := fault_of(value):
            raise ModelError(f"delta {path}: {name} {fault}; make the delta again")
        if network != "unet":
            control[inner] = value
            continue
        if inner not in weights or weights[inner].shape != value.shape:
            raise ModelError(
                f"delta {path}: {inner} is no tensor of the base's UNet, or has another size; make "
                "the delta again"
            )
        changes[inner] = value
    return changes, control


def _constants(variant: ModelVariant) -> dict[str, object]:
    """Constants that go with tuned weights; the scheduler, licences and files are the base's."""
    names = ("name", "summary", "sizes", "sampling", "micro_conditions", "injection", "pose_style",
             "leading_reference", "guidance_along", "image_latents", "adds_image_latents",
             *CONTROL_SECTIONS)  # fmt: skip
    return {name: value for name, value in variant.to_dict().items() if name in names}


def _metadata(path: Path) -> dict[str, str]:
    file = check_readable(path, "delta file", ModelError)
    try:
        with safe_open(file, "pt") as opened:
            metadata: dict[str, str] = dict(opened.metadata() or {})
    except (SafetensorError, OSError, ValueError) as reason:
        raise ModelError(f"delta file {path} is damaged or none at all ({reason})") from reason
    if metadata.get(_FORMAT) != _VERSION:
        raise ModelError(
            f"{path} is no delta file of this version; `cnx train delta` writes one, and weights "
            "of other kinds belong into a model folder"
        )
    return metadata


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in weights.items()}


def _check_same(
    first: Mapping[str, list[int]], second: Mapping[str, list[int]], owner: str, other: str
) -> None:
    names = sorted({*first, *second})
    wrong = [name for name in names if first.get(name) != second.get(name)]
    if wrong:
        sizes = [
            f"{name} is {_shape(first.get(name))} and {_shape(second.get(name))}" for name in wrong
        ]
        raise ModelError(
            f"{owner} and {other} are of different architectures: {listed(sizes, separator='; ')}; "
            "choose a base of the same architecture"
        )


def _shape(sizes: list[int] | None) -> str:
    return "not there" if sizes is None else "x".join(map(str, sizes)) or "a scalar"
