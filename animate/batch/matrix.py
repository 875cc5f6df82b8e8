"""A row that stands for many: lists and patterns of references, driving videos and seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from glob import glob, has_magic
from itertools import product
from pathlib import Path
from typing import Any

from animate.batch.names import fill, values_of
from animate.errors import RequestError

_MANY = ("reference", "driving", "seed")


def expand(values: Mapping[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    """Every combination of the lists that a row gives for reference, driving and seed.

    A path with `*` or `?` stands for the files below `folder` that it fits, by name. `poses` may
    name `{driving}`. Raises RequestError for an empty list and a pattern that fits nothing.
    """
    choices = [[(name, value) for value in _choices(name, values, folder)] for name in _MANY]
    for chosen in product(*choices):
        row = {**values, **{name: value for name, value in chosen if value is not None}}
        if isinstance(poses := row.get("poses"), str) and "{" in poses:
            row["poses"] = fill(poses, {"driving": values_of(0, row)["driving"]})
        yield row


def _choices(name: str, values: Mapping[str, Any], folder: Path) -> list[Any]:
    given = values.get(name)
    if isinstance(given, list) and not given:
        raise RequestError(f"{name} is an empty list; give at least one")
    found: list[Any] = []
    for value in given if isinstance(given, list) else [given]:
        if name == "seed" or not isinstance(value, str) or not has_magic(value):
            found.append(value)
            continue
        # A file may really be called so.
        fitting = [value] if (folder / value).exists() else sorted(glob(value, root_dir=folder))
        if not fitting:
            raise RequestError(f"{name} {value!r} fits no file in {folder}")
        found += fitting
    return found
