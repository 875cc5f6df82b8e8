"""Find out what a vectors file holds and check all of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor

from animate.errors import ModelError
from animate.files import check_readable
from scripts.parity.checks import Check, ParityReport, skipped

SVD_GROUPS = ("controlnext.", "unet.", "pipeline.")
POSE_GROUPS = r"(draw|retarget|dwpose)\d*\."
_SVD_SETTINGS = ("model", "salt")
_NEEDED = {
    "controlnext.": (),
    "unet.": ("unet",),
    "pipeline.": (
        "unet",
        "vae",
        "clip",
        "scheduler",
        "frames_per_batch",
        "overlap",
        "num_inference_steps",
        "guidance",
        "decode_chunk_size",
    ),
}

_KINDS = {
    "sd15": ("stills", "check_stills", "ControlNeXt-SD1.5"),
    "sd15t": ("stills", "check_stills", "ControlNeXt-SD1.5, newer trainer"),
    "sdxl": ("stills", "check_stills", "ControlNeXt-SDXL"),
    "ip-adapter-sd15": ("stills", "check_ip_adapter", "IP-Adapter"),
    "mimicmotion": ("animators", "check_animator", "MimicMotion"),
    "stableanimator": ("animators", "check_animator", "StableAnimator"),
    "moore-animate-anyone": ("animators", "check_animator", "AnimateAnyone"),
}
"""Module, function and title of the kinds of vectors beside SVD's and poses', by the settings'
`model`."""


def check_file(path: str | Path) -> ParityReport:
    """Check every tensor of the vectors file at `path`.

    Raises `ModelError` when it is no vectors file: unreadable, without settings, or of no known
    kind.
    """
    path = check_readable(path, "vectors file", ModelError)
    tensors, settings = _read(path)
    kind_of_file = _KINDS.get(str(settings.get("model")))
    if kind_of_file is not None:
        module, function, title = kind_of_file
        check = getattr(import_module(f"scripts.parity.{module}"), function)
        return ParityReport(
            title=f"{path}: {title} vectors", checks=_checked(check, tensors, settings, path)
        )
    svd = any(name.startswith(SVD_GROUPS) for name in tensors)
    pose = any(re.match(POSE_GROUPS, name) for name in tensors)
    if not svd and not pose:
        raise ModelError(
            f"vectors file {path} has neither networks ({', '.join(SVD_GROUPS)}...) nor poses "
            "(draw..., retarget..., dwpose...) in it"
        )
    checks: list[Check] = []
    if svd:
        from scripts.parity.svd import check_svd

        _check_settings(path, tensors, settings)
        checks += check_svd(tensors, settings)
    if pose:
        from scripts.parity.pose import check_pose

        checks += check_pose(tensors, settings)
    kind = f"SVD {settings.get('model')}" if svd else "pose"
    strange = sorted(
        name
        for name in tensors
        if not name.startswith(SVD_GROUPS) and not re.match(POSE_GROUPS, name)
    )
    checks += [skipped(name, "no meaning known") for name in strange]
    return ParityReport(title=f"{path}: {kind} vectors", checks=tuple(checks))


def _checked(
    check: Callable[[Mapping[str, Tensor], Mapping[str, Any]], list[Check]],
    tensors: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    path: Path,
) -> tuple[Check, ...]:
    """The checks of a file. Raises `ModelError` for settings or inputs that are missing."""
    try:
        return tuple(check(tensors, settings))
    except KeyError as absent:
        raise ModelError(f"vectors file {path}: it lacks {absent}") from absent


def _read(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        settings = json.loads(metadata.get("settings", "null"))
    except (SafetensorError, OSError, ValueError) as reason:
        raise ModelError(f"vectors file {path} cannot be read: {reason}") from reason
    if not isinstance(settings, dict):
        raise ModelError(f"vectors file {path} has no `settings` in its metadata")
    return tensors, settings


def _check_settings(path: Path, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> None:
    from scripts.parity.svd import VARIANTS

    needed = set(_SVD_SETTINGS)
    for group, names in _NEEDED.items():
        if any(name.startswith(group) for name in tensors):
            needed |= set(names)
    absent = sorted(needed - set(settings))
    if absent:
        raise ModelError(f"vectors file {path}: its settings lack {', '.join(absent)}")
    if settings["model"] not in VARIANTS:
        raise ModelError(
            f"vectors file {path} is for model {settings['model']!r}; known are "
            f"{', '.join(VARIANTS)}"
        )
