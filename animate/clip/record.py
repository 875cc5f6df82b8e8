"""The record beside a clip: everything needed to make it again, and what making it took.

`CLIP.json` holds the request as given, every value as resolved, digests of inputs and weights,
versions, timings, peaks and warnings. It is written last, so a clip with a sidecar is complete.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from animate.errors import MediaError
from animate.files import is_sequence, with_own_name, write_text
from animate.request.schema import plain

SCHEMA = 1
RECORDED_PACKAGES = ("cnx-animate", "torch", "diffusers", "transformers", "onnxruntime", "av")


def sidecar_path(clip: Path) -> Path:
    """Where the record of `clip` stands: `clip.json` for `clip.mp4`, or for `clip/%04d.png`;
    `shot.v001.json` for `shot.v001/%04d.png`. Raises MediaError for images in the root folder."""
    if is_sequence(clip):
        folder = with_own_name(clip.parent)
        return folder.with_name(f"{folder.name}.json")
    return clip.with_suffix(".json")


def write_sidecar(clip: Path, record: Mapping[str, Any]) -> Path:
    """Write the record atomically. Raises MediaError if it cannot be written."""
    path = sidecar_path(clip)
    text = json.dumps({"schema": SCHEMA, **plain(record)}, indent=2, ensure_ascii=False)
    try:
        write_text(path, text + "\n")
    except OSError as reason:
        raise MediaError(f"the record {path} cannot be written: {reason.strerror}") from reason
    return path


def versions(packages: Iterable[str] = RECORDED_PACKAGES) -> dict[str, str]:
    """Versions of what decides a clip's pixels."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a checkout that was never installed
            found[package] = "not installed"
    return found
