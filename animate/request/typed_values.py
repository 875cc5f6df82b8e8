"""Values of any type from plain ones, as JSON and YAML hold them."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

from animate.errors import RequestError
from animate.request.values import check_text, read_path
from animate.request.wording import nearest, quoted

Build = Callable[[Any, Any, str], Any]
"""Makes a dataclass of plain values; the text is the name of the field that it is for."""
WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def leaves(hint: Any) -> list[Any]:
    """The types and words that a type is made of."""
    arguments = get_args(hint)
    return [leaf for part in arguments for leaf in leaves(part)] if arguments else [hint]


def read_typed(hint: Any, value: Any, name: str, build: Build) -> Any:
    """The value of a type from a plain one; `name` is that of the setting.

    Raises RequestError where it is of another type.
    """
    return read_as(*analysed(hint), hint, value, name, build)


def read_as(
    words: tuple[str, ...], kinds: tuple[Any, ...], hint: Any, value: Any, name: str, build: Build
) -> Any:
    """The same, with what `analysed` says of the type."""
    if value is None and len(kinds) < len(get_args(hint)):
        return None
    if words:
        return _word(words, value, name)
    kind = kinds[0]
    if len(kinds) > 1:
        return _first_that_fits(kinds, value, name, build)
    if kind in WORDS:
        return _scalar(kind, value, name)
    if kind is Path:
        return read_path(value, name)
    if hasattr(kind, "parse"):
        return _parsed(kind.parse, value, name)
    if is_dataclass(kind):
        known = isinstance(value, cast(type, kind))
        return value if known else build(kind, value, name)
    if get_origin(kind) is tuple:
        return _tuple(get_args(kind), value, name, build)
    if get_origin(kind) is not None:
        return _mapping(get_args(kind)[1], value, name, build)
    return value  # of any type


@cache
def analysed(hint: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """The allowed words of a type that is made of words, and the types that it is a union of, but
    for None and for a variable that stands for it."""
    kinds: tuple[Any, ...] = (hint,)
    if get_origin(hint) in (Union, types.UnionType):
        kinds = tuple(
            kind
            for kind in get_args(hint)
            if kind is not type(None) and not isinstance(kind, TypeVar)
        )
    only_words = all(get_origin(kind) is Literal for kind in kinds)
    return (words_of(hint) if only_words else ()), kinds


def _first_that_fits(kinds: tuple[Any, ...], value: Any, name: str, build: Build) -> Any:
    faults = []
    for kind in kinds:
        try:
            return read_typed(kind, value, name, build)
        except RequestError as reason:
            faults.append(reason)
    raise faults[0]


def _tuple(kinds: tuple[Any, ...], value: Any, name: str, build: Build) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise RequestError(f"{name} {quoted(value)} is not a list")
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise RequestError(f"{name} {quoted(value)} is not a list of {len(kinds)}")
    items = zip(kinds, value, strict=True)
    return tuple(read_typed(kind, item, name, build) for kind, item in items)


def words_of(hint: Any) -> tuple[str, ...]:
    """The allowed words of a type; empty where it is not made of words."""
    return tuple(leaf for leaf in leaves(hint) if isinstance(leaf, str))


def _word(words: tuple[str, ...], value: Any, name: str) -> str:
    if not isinstance(value, str) or value not in words:
        hint = nearest(value, words) if isinstance(value, str) else ""
        raise RequestError(f"{name} {quoted(value)} is not one of {', '.join(words)}{hint}")
    return value


def _parsed(parse: Callable[[Any], Any], value: Any, name: str) -> Any:
    try:
        return parse(value)
    except RequestError as reason:
        raise RequestError(str(reason) if name in str(reason) else f"{name}: {reason}") from None


def _mapping(kind: Any, value: Any, name: str, build: Build) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise RequestError(f"{name} must hold names with values, not {quoted(value)}")
    return {str(key): read_typed(kind, item, f"{name}.{key}", build) for key, item in value.items()}


def _scalar(hint: Any, value: Any, name: str) -> Any:
    if hint is float and isinstance(value, Real) and not isinstance(value, bool):
        with suppress(OverflowError):
            number = float(value)
            if not math.isfinite(number):
                raise RequestError(f"{name} {number} is not a finite number")
            return number
    if hint is int and isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise RequestError(f"{name} {quoted(value)} is not {WORDS.get(hint, hint.__name__)}")
    if isinstance(value, str):
        check_text(value, name)
    return value
