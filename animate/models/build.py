"""Dataclasses from plain YAML values and back, with faults named by file and setting."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from animate.errors import ModelError, UserError
from animate.request.request import nearest
from animate.request.values import Guidance, Size

T = TypeVar("T")


def build(cls: type[T], values: Any, where: str) -> T:
    """A `cls` from a mapping of plain values; `where` names the file (and part) in messages.

    Raises `ModelError` for unknown names (with the nearest known one), missing names, values of
    the wrong kind, and what the dataclass itself refuses.
    """
    if not isinstance(values, Mapping):
        raise ModelError(f"{where} must hold names with values, not {values!r}")
    known: dict[str, Any] = {item.name: item for item in fields(cls)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise ModelError(f"{where}: unknown setting {name!r}{nearest(str(name), set(known))}")
    for name, item in known.items():
        needed = item.default is MISSING and item.default_factory is MISSING
        if needed and name not in values:
            raise ModelError(f"{where}: the setting {name!r} is missing")
    hints = get_type_hints(cls)
    typed = {name: _typed(hints[name], value, where, name) for name, value in values.items()}
    try:
        return cls(**typed)
    except UserError as reason:
        raise ModelError(f"{where}: {reason}") from reason


def _typed(hint: Any, value: Any, where: str, name: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
        origin = get_origin(hint)
    if is_dataclass(hint):
        return build(hint, value, f"{where}, {name}")  # type: ignore[arg-type]
    if hint in (Size, Guidance):
        try:
            return hint.parse(value)
        except UserError as reason:
            raise ModelError(f"{where}: {name}: {reason}") from reason
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ModelError(f"{where}: {name} must be a list, not {value!r}")
        kind = get_args(hint)[0]
        return tuple(_typed(kind, item, where, name) for item in value)
    if origin is not None and origin is not Literal:
        return _typed_mapping(get_args(hint)[1], value, where, name)
    return _plain(hint, value, where, name)


def _typed_mapping(kind: Any, value: Any, where: str, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ModelError(f"{where}: {name} must hold names with values, not {value!r}")
    if kind is Any:
        return dict(value)
    return {key: _typed(kind, item, where, f"{name}.{key}") for key, item in value.items()}


def _plain(hint: Any, value: Any, where: str, name: str) -> Any:
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            known = ", ".join(map(str, get_args(hint)))
            raise ModelError(f"{where}: {name} must be one of {known}, not {value!r}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
        raise ModelError(f"{where}: {name} must be {words.get(hint, hint.__name__)}, not {value!r}")
    return value


def dump(value: Any) -> Any:
    """Plain values of a dataclass, as `build` reads them; defaults are written out too."""
    if isinstance(value, Size | Guidance | Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: dump(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): dump(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [dump(item) for item in value]
    return value
