"""JSON files of this program, read as what they should be: dataclasses, or a reason why not."""

from __future__ import annotations

import json
import os
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

LARGEST = 16 << 20
"""Bytes of a file that is read."""


def read_json(path: Path, most: int = LARGEST) -> Any:
    """The values in a JSON file of ours, which may have been tampered with.

    Raises ValueError where it is larger than `most` bytes or no JSON, OSError where it cannot be
    read; a pipe is not waited for.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is larger than {most >> 20} MiB")
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("its values are nested too deep") from None


def from_plain(kind: Any, value: Any, name: str = "it") -> Any:
    """A value of type `kind` from plain JSON values: dataclasses, mappings, tuples, unions.

    Names that a dataclass does not have are left out: a later version may have added them.
    Raises ValueError naming the first value that is missing or of another type.
    """
    if kind is object or kind is Any:
        return value
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        return _from_union(parts, value, name)
    if origin is Literal and isinstance(value, str) and value in parts:
        return value
    if kind is Path and isinstance(value, str) and "\0" not in value:
        return Path(value)
    if is_dataclass(kind):
        return _from_object(kind, value, name)
    if origin is tuple and isinstance(value, list):
        return tuple(from_plain(parts[0], item, f"an item of {name}") for item in value)
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, dict):
        return {key: from_plain(parts[1], item, f"{name} {key}") for key, item in value.items()}
    if kind is float and type(value) in (int, float) and isfinite(value):
        return float(value)
    if origin is None and type(value) is kind and kind is not float:
        return value
    raise ValueError(f"{name} is {type(value).__name__}, not {getattr(kind, '__name__', kind)}")


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _from_union(kinds: tuple[Any, ...], value: Any, name: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    choices = [kind for kind in kinds if kind is not type(None)]
    for kind in choices[:-1]:
        try:
            return from_plain(kind, value, name)
        except ValueError:
            continue
    return from_plain(choices[-1], value, name)


def _from_object(kind: Any, value: Any, name: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {type(value).__name__}, not an object")
    hints = _hints(kind)
    values = {}
    for item in fields(kind):
        if item.name in value:
            values[item.name] = from_plain(hints[item.name], value[item.name], item.name)
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ValueError(f"{item.name} is missing")
    return kind(**values)
