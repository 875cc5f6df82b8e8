"""Where the files of a batch may lie."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from animate.clip.record import sidecar_path
from animate.clip.work_folder import SUFFIX as WORK_SUFFIX
from animate.errors import RequestError
from animate.request.values import Lora

BESIDES = ("side_by_side", "contact_sheet")
"""What is written besides a clip; in a manifest, relative to the output folder."""
FILES = ("reference", "driving", "poses", "estimator_folder", "cache", "work")
RECORD_SUFFIX = ".job.json"
_NAME_LENGTH = 48
"""Characters: file systems allow 255 bytes, and a character may take four."""


def record_path(output: Path) -> Path:
    """Where the batch's record of a clip stands: `clip.job.json` beside `clip.mp4`."""
    return sidecar_path(output).with_suffix(RECORD_SUFFIX)


def lost_record(output_dir: Path, number: int) -> Path:
    """Where the record of a row stands that names no clip.

    Whatever a clip is called, its sidecar and its record end in `.json`: this is neither.
    """
    return output_dir / f".row-{number:05}.lost"


def work_name(output: Path, output_dir: Path) -> str:
    """Folder of a clip's unfinished work below one that many clips have in common.

    Its own for every clip of whatever manifest, and the same when rows are put in before it. Named
    as `cnx clean` looks for it.
    """
    place = output.parent.resolve() / output.name  # however the folder was named this time
    name = re.sub(r"[^\w.-]+", "_", os.path.relpath(place.with_suffix(""), output_dir.resolve()))
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()
    return f".{name[-_NAME_LENGTH:]}-{digest[:10]}{WORK_SUFFIX}"


def with_absolute_paths(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The same settings with their files below `folder` where they are relative.

    A model is a folder where it has a slash in it, and a name otherwise.
    """
    found = dict(values)
    for name in FILES:
        value = found.get(name)
        if name in ("cache", "work") and str(value) == "none":
            continue
        if isinstance(value, list):
            found[name] = [_absolute(part, folder) for part in value]
        elif value is not None:
            found[name] = _absolute(value, folder)
    if parts := signing_files(found.get("sign")):
        found["sign"] = ":".join(str(_absolute(part, folder)) for part in parts)
    if found.get("lora"):
        adapters = Lora.parse_all(found["lora"])
        found["lora"] = [Lora(folder / one.path, one.weight) for one in adapters]
    model = found.get("model")
    if isinstance(model, (str, Path)) and ("/" in str(model) or isinstance(model, Path)):
        found["model"] = str(_absolute(model, folder))
    return found


def signing_files(sign: Any) -> tuple[str, ...]:
    """Certificate chain and key of CERT:KEY; nothing where that is not what it is."""
    chain, _, key = sign.rpartition(":") if isinstance(sign, str) else ("", "", "")
    return (chain, key) if chain and key else ()


def _absolute(path: Any, folder: Path) -> Any:
    if not isinstance(path, (str, Path)):
        return path  # of a wrong type: the request will say so
    if "\0" in str(path):
        raise RequestError(f"path {str(path)!r} has a zero byte in it")
    # Not resolved: a link's own name is what people know a file by.
    return str(folder / path) if str(path) else path


def check_inside(values: Mapping[str, Any], roots: Sequence[Path]) -> None:
    """Raises RequestError for a file of `values` outside all of the resolved `roots`."""
    if not roots:
        return
    named = [(name, values.get(name)) for name in (*FILES, "model")]
    named += [("lora", one.path) for one in values.get("lora") or ()]
    named += [("sign", part) for part in signing_files(values.get("sign"))]
    for name, value in named:
        if value is None or not Path(str(value)).is_absolute():
            continue
        real = Path(str(value)).resolve()
        if not any(real.is_relative_to(root) for root in roots):
            link = f", which is really {real}" if real != Path(str(value)) else ""
            allowed = ", ".join(map(str, roots))
            raise RequestError(f"{name} {value}{link} lies outside the allowed --root {allowed}")


def output_place(output: Any, folder: Path) -> Path:
    """Where an output of a manifest goes. Raises RequestError when that is outside `folder`."""
    if not isinstance(output, (str, Path)):
        raise RequestError(f"output {output!r} is not a path")
    place = folder / output
    if not place.resolve().is_relative_to(folder.resolve()) or place.resolve() == folder.resolve():
        raise RequestError(
            f"output {output} lies outside the output folder {folder}; give a path within it"
        )
    if ".." in Path(output).parts:
        raise RequestError(f"output {output} has '..' in it; write it without")
    return place
