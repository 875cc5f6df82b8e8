"""Paths in settings: every one that options name, and the same options with other paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from animate.errors import RequestError
from animate.request.schema import groups_of, settings_of
from animate.request.setting import Role, Setting

T = TypeVar("T")


class _HasPaths(Protocol):
    """A value with paths among its parts."""

    def paths(self) -> Iterator[Path]: ...

    def with_paths(self, change: Callable[[Path], Path]) -> Any: ...


def paths_of(options: Any, *roles: Role) -> Iterator[tuple[Setting, Path]]:
    """Every path that the settings of these roles name, with its setting."""
    kind: Any = type(options)
    for setting in _with_paths(kind, roles):
        value = setting.value(options)
        if value is not None:
            for path in paths_in(value):
                yield setting, path


@cache
def _with_paths(kind: Any, roles: tuple[Role, ...]) -> tuple[Setting, ...]:
    settings = settings_of(kind).values()
    return tuple(setting for setting in settings if setting.role in roles and setting.holds_paths)


def is_none(path: Path) -> bool:
    """True for the word that a place takes for no folder."""
    return str(path) == "none"  # some ten times faster than to compare two paths


def paths_in(value: Any) -> Iterator[Path]:
    """The paths in a typed value; the word `none` for a folder is no path."""
    if isinstance(value, Path):
        if not is_none(value):
            yield value
    elif hasattr(value, "with_paths"):
        yield from cast(_HasPaths, value).paths()
    elif isinstance(value, tuple):
        for item in value:
            yield from paths_in(item)


def with_paths(options: T, change: Callable[[Path], Path]) -> T:
    """The same options with every path in them changed, those of groups too."""
    changed: dict[str, object] = {
        setting.name: _changed(setting.value(options), change)
        for setting in settings_of(type(options)).values()
        if not setting.group
    }
    for name in groups_of(type(options)):
        changed[name] = with_paths(getattr(options, name), change)
    return cast(T, replace(cast(Any, options), **changed))


def plain_with_paths(
    kind: type, values: Mapping[str, object], change: Callable[[Path], Path], *roles: Role
) -> dict[str, object]:
    """Values by flat names with the paths of these roles changed, those in lists too; what holds a
    path is typed.

    A value that is not what its setting takes stays as it is: `build` names its fault.
    """
    settings = settings_of(kind)
    changed = dict(values)
    for name, value in values.items():
        setting = settings[name]
        if setting.role in roles and value is not None:
            if isinstance(value, list) and not isinstance(setting.default, tuple):
                changed[name] = [_plain_changed(setting, item, change) for item in value]
            else:
                changed[name] = _plain_changed(setting, value, change)
    return changed


def _plain_changed(setting: Setting, value: Any, change: Callable[[Path], Path]) -> Any:
    try:
        typed = setting.read(value)
    except RequestError:
        return value
    return _changed(typed, change) if any(paths_in(typed)) else value


def _changed(value: Any, change: Callable[[Path], Path]) -> Any:
    if isinstance(value, Path):
        return value if is_none(value) else change(value)
    if hasattr(value, "with_paths"):
        return cast(_HasPaths, value).with_paths(change)
    return tuple(_changed(item, change) for item in value) if type(value) is tuple else value
