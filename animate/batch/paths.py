"""Names and paths of a batch's files: templates of output names, folders, allowed roots."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path, PurePath
from typing import Any

from animate.clip.record import sidecar_path, with_own_name
from animate.clip.shareable import NamesFiles
from animate.clip.work_folder import SUFFIX as WORK_SUFFIX
from animate.errors import ModelError, RequestError
from animate.files import LONGEST_NAME, is_sequence, real_path
from animate.media.sequences import sequence_files
from animate.models.variants import check_model_inside
from animate.request.request import AnimationRequest
from animate.request.setting import Role
from animate.request.setting_paths import plain_with_paths
from animate.request.values import read_path
from animate.request.wording import nearest, quoted

NAME_FIELDS = ("row", "reference", "driving", "control", "seed", "model")
"""Fields of templates: `reference`, `driving` of clips, `control` of stills, the others of all."""
_ADAPTER_SIZES = "adapter_config.json"
"""Name of the file beside peft's `adapter_model.*`; see `animate.models.adapter_files`."""
RECORD_SUFFIX = ".job.json"
_FIELD = re.compile(r"\{([^{}]*)\}")
_INSIDE = re.compile(r"(\w+)(?::(0?\d{1,2}))?")
_NAME_LENGTH = 48
"""Characters: file systems allow 255 bytes, and a character may take four."""


def check_template(template: str) -> str:
    """`template` if every field in it is known. Raises RequestError with the nearest name."""
    fill_template(template, dict.fromkeys(NAME_FIELDS, 0))
    return template


def fill_template(template: object, values: Mapping[str, object]) -> str:
    """`template` with `{reference}`, `{row:04}` and so on replaced by values.

    Only names are replaced: nothing of a value can be reached through it. Raises RequestError.
    """
    if not isinstance(template, str | PurePath):
        raise RequestError(f"{quoted(template)} is not the name of a file")

    def replaced(match: re.Match[str]) -> str:
        inside = _INSIDE.fullmatch(match[1])
        if not inside or inside[1] not in values:
            known = ", ".join(f"{{{name}}}" for name in values)
            hint = nearest(match[1], list(values))
            raise RequestError(
                f"name {quoted(template)} has {quoted(match[0])}{hint} It may have {known}"
            )
        width = inside[2] or "0"
        return str(values[inside[1]]).rjust(int(width), "0" if width.startswith("0") else " ")

    return _FIELD.sub(replaced, str(template))


def stem(path: object) -> str:
    """The name of a file without suffix, for a template; empty for no file."""
    # A percent sign would make numbered images of the name.
    return Path(str(path or "")).stem.replace("%", "_")


def record_path(output: Path) -> Path:
    """The batch's record of a clip: `clip.mp4.job.json` beside `clip.mp4`; `shot.job.json` beside
    `shot/%04d.png`. Raises MediaError for images in the root folder."""
    clip = with_own_name(output.parent) if is_sequence(output) else output
    return clip.with_name(clip.name + RECORD_SUFFIX)


def former_record_path(output: Path) -> Path:
    """The name that the version before gave to `record_path`; clips that differed in their suffix
    alone had one between them."""
    return sidecar_path(output).with_suffix(RECORD_SUFFIX)


def lost_record(output_dir: Path, number: int) -> Path:
    """The record of a row that names no clip.

    Whatever a clip is called, its sidecar and its record end in `.json`: this is neither.
    """
    return output_dir / f".row-{number:05}.lost"


def work_name(output: Path, output_dir: Path) -> str:
    """Folder of a clip's unfinished work below one that many clips have in common.

    Its own for every clip of whatever manifest, and the same when rows are put in before it. Named
    as `cnx clean` looks for it.
    """
    clip = real_path(output.parent) / output.name  # however the folder was named this time
    name = re.sub(r"[^\w.-]+", "_", os.path.relpath(clip.with_suffix(""), real_path(output_dir)))
    digest = hashlib.sha256(os.fsencode(clip)).hexdigest()
    return f".{name[-_NAME_LENGTH:]}-{digest[:10]}{WORK_SUFFIX}"


def with_absolute_paths(
    values: Mapping[str, object], folder: Path, kind: type = AnimationRequest
) -> dict[str, object]:
    """The same settings of a kind of request, with what they read or use below `folder` where it is
    relative."""
    # Not resolved: a link's own name is what people know a file by.
    below = partial(_below, folder)
    return plain_with_paths(kind, values, below, "input", "place")


@lru_cache(maxsize=4096)
def _below(folder: Path, path: Path) -> Path:
    # Kept: many rows name the same inputs.
    return folder / path


def check_paths_inside(request: NamesFiles, roots: tuple[Path, ...]) -> None:
    """Raise RequestError for a file that a request names outside all of the resolved `roots`: the
    contents of folders included, links resolved."""
    roles: tuple[Role, ...] = ("input", "place")
    for role in roles:
        for name, path in request.paths(role):
            real = _first_outside(path, roots, role == "input")
            if real is not None:
                link = f", which is really {real}" if real != path else ""
                allowed = ", ".join(map(str, roots))
                raise RequestError(f"{name} {path}{link} lies outside the allowed --root {allowed}")


def look_again() -> None:
    """Forget where links led: between two manifests they may have changed."""
    _first_outside.cache_clear()
    check_variant.cache_clear()


@lru_cache(maxsize=4096)
def _first_outside(path: Path, roots: tuple[Path, ...], contents: bool) -> Path | None:
    """The real path of the first file outside all roots; None where there is none.

    contents: look at everything in a folder, and at all images of a pattern, too
    """
    for file in _files_in(path) if contents else (path,):
        real = Path(os.path.realpath(file))
        if not any(real.is_relative_to(root) for root in roots):
            return real
    return None


def _files_in(path: Path) -> Iterator[Path]:
    """The path, all that an image pattern stands for, and every link in a folder, and in the
    folders that links in it lead to."""
    yield path
    if path.name.startswith("adapter_model."):
        yield path.with_name(_ADAPTER_SIZES)  # read with it
    if is_sequence(path):
        yield from sequence_files(path)
    waiting, walked = [path], set[str]()
    while waiting:
        real = os.path.realpath(waiting.pop())
        if real in walked:
            continue
        for folder, folders, files in os.walk(real):
            walked.add(folder)
            for entry in (Path(folder, name) for name in (*folders, *files)):
                if entry.is_symlink():  # other entries are where their folder is
                    yield entry
                    waiting.append(entry)


@lru_cache(maxsize=256)
def check_variant(name: str, roots: tuple[Path, ...]) -> None:
    """Raise RequestError for a model variant with files outside all of `roots`."""
    # Kept: many rows name the same model, and its description is read for this.
    try:
        check_model_inside(name, roots)
    except ModelError as reason:
        raise RequestError(str(reason)) from reason


class OutputFolder:
    """The folder that the outputs of a batch lie in; the links of each folder are resolved once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._real_folders: dict[str, str] = {}
        self._inside = os.path.join(real_path(path), "")

    def output(self, name: Any) -> Path:
        """The path of a manifest's output. Raises RequestError when that is outside the folder."""
        relative = read_path(name, "output")
        path = self.path / relative
        if not self._real(str(path)).startswith(self._inside):
            raise RequestError(
                f"output {name} lies outside the output folder {self.path}; give a path within it"
            )
        if ".." in relative.parts:
            raise RequestError(f"output {name} has '..' in it; write it without")
        if (
            max(len(os.fsencode(part)) for part in (*relative.parts, record_path(path).name))
            > LONGEST_NAME
        ):
            raise RequestError(
                f"output {quoted(name)} is too long: a name, and that of its record, may have "
                f"{LONGEST_NAME} bytes; shorten it"
            )
        return path

    def _real(self, path: str) -> str:
        folder, name = os.path.split(path)
        if folder not in self._real_folders:
            self._real_folders[folder] = os.path.realpath(folder)
        if os.path.islink(path):  # which may lead to itself
            return os.path.realpath(path)
        return os.path.join(self._real_folders[folder], name)
