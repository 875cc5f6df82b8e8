"""Rows that stand for several jobs: lists of inputs and seeds, and patterns of file names."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from glob import glob, has_magic
from itertools import product
from pathlib import Path
from typing import Any

from animate.batch.kinds import RowKind
from animate.batch.paths import fill_template
from animate.batch.storage import check_url, is_url, join_url, remote_matches
from animate.errors import RequestError
from animate.request.schema import settings_of
from animate.request.values import check_text

_MOST_OF_A_ROW = 100_000


def expand(
    values: Mapping[str, object], folder: Path | str, kind: RowKind[Any]
) -> Iterator[dict[str, object]]:
    """Every combination of the lists that a row gives for what its kind takes several values of.

    `folder` is a local one or a URL. A path with `*` or `?` stands for the files below `folder`
    that it fits, by name. `poses` may name `{driving}`. Raises RequestError for an empty list and a
    pattern that fits nothing.
    """
    several = [name for name in kind.several if _may_be_several(values.get(name))]
    for name in kind.several:
        if name not in several:
            _check_choice(name, values.get(name), kind)
    choices = [
        [(name, value) for value in _choices(name, values, folder, kind)] for name in several
    ]
    if (count := math.prod(map(len, choices))) > _MOST_OF_A_ROW:
        raise RequestError(f"the lists of this row make {count:,} jobs; write several rows")
    for combination in product(*choices):
        row: dict[str, object] = {**values, **dict(combination)}
        if isinstance(poses := row.get("poses"), str) and "{" in poses:
            row["poses"] = fill_template(
                poses, {"driving": kind.template_values(0, row)["driving"]}
            )
        yield row


def _choices(
    name: str, values: Mapping[str, object], folder: Path | str, kind: RowKind[Any]
) -> list[object]:
    value = values.get(name)
    if isinstance(value, list) and not value:
        raise RequestError(f"{name} is an empty list; give at least one")
    choices: list[object] = []
    for item in value if isinstance(value, list) else [value]:
        _check_choice(name, item, kind)
        if name == "seed" or not isinstance(item, str) or not has_magic(item):
            choices.append(item)
            continue
        files = _matches(item, folder)
        if not files:
            raise RequestError(f"{name} {item!r} fits no file in {folder}")
        choices += files
    return choices


def _may_be_several(value: object) -> bool:
    return isinstance(value, list) or (isinstance(value, str) and has_magic(value))


def _check_choice(name: str, value: object, kind: RowKind[Any]) -> None:
    if isinstance(value, str):
        check_text(value, name)
    elif value is not None:
        settings_of(kind.settings)[name].read(value)


def _matches(pattern: str, folder: Path | str) -> list[str]:
    """The files that a pattern fits; the pattern itself where a file is really called so."""
    if is_url(pattern) or isinstance(folder, str):
        return remote_matches(check_url(join_url(str(folder), pattern), "pattern"))
    return [pattern] if (folder / pattern).exists() else sorted(glob(pattern, root_dir=folder))
