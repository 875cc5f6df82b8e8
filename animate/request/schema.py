"""The one reader and writer of settings: dataclasses from plain values, and back.

Python calls, YAML files, manifests, model variants, training recipes and the command line all come
through here, so a value means the same everywhere, and its fault is named in the same words.

A setting is a dataclass field made by `option` (`animate.request.setting`), which holds its help,
its bounds and its role; a field without is read by its type alone. A field made by `group` holds a
dataclass of settings whose names may stand beside those of the outer one: `steps` for `sampling:
{steps: ...}`.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import PurePath
from typing import Any, TypeVar, cast, get_type_hints

from animate.errors import RequestError, UserError
from animate.request.setting import GROUP, SETTING, Setting
from animate.request.typed_values import read_typed
from animate.request.values import (
    FrameNumber,
    Guidance,
    ModelName,
    NoiseInterval,
    Signing,
    Size,
    Strength,
)
from animate.request.wording import listed, nearest, quoted

T = TypeVar("T")
_WRITTEN = (
    *(Size, Guidance, NoiseInterval, Strength, Signing),
    *(ModelName, PurePath, Fraction, FrameNumber),
)
"""Types whose plain value is text that they parse."""


def settings_of(kind: type) -> Mapping[str, Setting]:
    """Every setting of a dataclass and of its groups, by name."""
    return _layout(kind).settings


def groups_of(kind: type) -> Mapping[str, Any]:
    """The dataclasses of settings that a dataclass holds, by their fields."""
    return _layout(kind).groups


def knows(kind: type, name: str) -> bool:
    """True for a name that plain values of a dataclass may have, groups among them."""
    layout, field_name = _layout(kind), str(name).replace("-", "_")
    return field_name in layout.known or field_name in layout.groups


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """The reader's view of a dataclass; worked out once, as a file may hold 100,000 of them."""

    hints: Mapping[str, Any]
    """Type of each field."""
    needed: frozenset[str]
    """Fields without a default."""
    groups: Mapping[str, Any]
    """Dataclasses of settings by the field that holds them."""
    ungrouped: tuple[Setting, ...]
    """Settings that are not of a group."""
    settings: Mapping[str, Setting]
    """All settings, those of groups too."""
    known: frozenset[str]
    """Names that plain values may have, but for those of the groups."""


def _layout(kind: type) -> _Layout:
    hashable: Any = kind  # mypy takes the hash of a dataclass's objects for that of the class
    return _worked_out(hashable)


@cache
def _worked_out(kind: Any) -> _Layout:
    hints, items = get_type_hints(kind), fields(kind)
    groups = {item.name: hints[item.name] for item in items if GROUP in item.metadata}
    ungrouped = tuple(
        Setting(name=item.name, group="", hint=hints[item.name], default=item.default, **stated)
        for item in items
        if (stated := item.metadata.get(SETTING))
    )
    settings = {setting.name: setting for setting in ungrouped}
    for name, inner in groups.items():
        settings |= {s.name: replace(s, group=name) for s in settings_of(inner).values()}
    return _Layout(
        hints=hints,
        needed=frozenset(
            item.name
            for item in items
            if item.default is MISSING and item.default_factory is MISSING
        ),
        groups=groups,
        ungrouped=ungrouped,
        settings=types.MappingProxyType(settings),
        known=frozenset({item.name for item in items} - groups.keys() | settings.keys()),
    )


def validate(options: Any) -> None:
    """Read and check every setting of a frozen dataclass in place. Raises RequestError."""
    layout, values = _layout(type(options)), vars(options)
    for name, kind in layout.groups.items():
        if not isinstance(getattr(options, name), kind):
            wrong = quoted(getattr(options, name))
            raise RequestError(f"{name} {wrong} is not of the class {kind.__name__}")
    for setting in layout.ungrouped:
        value = values[setting.name]
        if value is not setting.default:
            object.__setattr__(options, setting.name, setting.read(value))


def build(cls: type[T], values: Any, where: str = "", error: type[UserError] = RequestError) -> T:
    """A dataclass from plain values.

    where: file, or part of it, that messages begin with
    Raises `error` for unknown names (with the nearest known one), names given twice, missing
    names, values of the wrong kind, and what the dataclass itself refuses.
    """
    try:
        return cast(T, _built(cls, values, "", lenient=False))
    except UserError as reason:
        if not where and isinstance(reason, error):
            raise
        raise error(f"{where}: {reason}" if where else str(reason)) from reason


def read_value(hint: Any, value: Any, name: str) -> Any:
    """A value of any type from a plain one of a record of ours: dataclasses, lists, mappings.

    Names that a dataclass does not have are left out: a later version may have added them.
    Raises RequestError naming the first value that is missing or of another type.
    """
    return read_typed(hint, value, name, _leniently)


def flat(kind: Any, values: Any, name: str = "", where: str = "") -> dict[str, object]:
    """Plain values by the names of the fields, those of groups beside the others.

    name: field that holds the values, where they are not those of the top
    where: file that messages begin with
    Raises RequestError for unknown names and for names that are given twice.
    """
    try:
        return _flat(kind, values, name, lenient=False)
    except RequestError as reason:
        if not where:
            raise
        raise RequestError(f"{where}: {reason}") from reason


def _flat(kind: Any, values: Any, name: str, lenient: bool) -> dict[str, object]:
    if type(values) is not dict and not isinstance(values, Mapping):
        raise RequestError(
            f"{name or 'settings'} must hold names with values, not {quoted(values)}"
        )
    layout = _layout(kind)
    groups, known = layout.groups, layout.known
    if values.keys() <= known:  # flat already, as most are
        return dict(values)
    by_name: dict[str, object] = {}
    unknown = []
    for key, value in values.items():
        field_name = str(key).replace("-", "_")
        if field_name in groups:
            if is_dataclass(value):
                value = plain(value)
            inner = _flat(groups[field_name], value, field_name, lenient)
        elif field_name in known:
            inner = {field_name: value}
        else:
            unknown.append(str(key))
            continue
        for inner_name, inner_value in inner.items():
            if inner_name in by_name:
                raise RequestError(f"{inner_name} is given twice")
            by_name[inner_name] = inner_value
    if unknown and not lenient:
        raise RequestError(_unknown(unknown, {*known, *groups}, name))
    return by_name


def _unknown(names: list[str], known: set[str], name: str) -> str:
    within = f"{name}: " if name else ""
    hints = [nearest(key.replace("-", "_"), known) for key in names[:5]]
    faults = [
        f"unknown setting {quoted(key)}{hint}" for key, hint in zip(names, hints, strict=False)
    ]
    return within + listed([*faults, *names[5:]], 5, separator="; ")


def _built(cls: Any, values: Any, name: str, lenient: bool) -> Any:
    """A dataclass; `name` is the field that it is for, empty at the top.

    lenient: leave out names that the dataclass does not have
    """
    return _from_flat(cls, _flat(cls, values, name, lenient), name, lenient)


def _strictly(kind: Any, value: Any, name: str) -> Any:
    return _built(kind, value, name, lenient=False)


def _leniently(kind: Any, value: Any, name: str) -> Any:
    return _built(kind, value, name, lenient=True)


def _from_flat(cls: Any, values: Mapping[str, Any], name: str, lenient: bool) -> Any:
    layout = _layout(cls)
    within = f"{name}." if name else ""
    inner: dict[str, dict[str, object]] = {group: {} for group in layout.groups}
    arguments: dict[str, object] = {}
    build_inner = _leniently if lenient else _strictly
    for key, value in values.items():
        setting = layout.settings.get(key)
        if setting is None:
            arguments[key] = read_typed(layout.hints[key], value, within + key, build_inner)
        elif setting.group:
            inner[setting.group][key] = value
        else:  # which the dataclass itself reads
            arguments[key] = value
    for field_name in layout.needed - arguments.keys():
        raise RequestError(f"the setting {within + field_name!r} is missing")
    for group_name, group_values in inner.items():
        if group_values:
            arguments[group_name] = _from_flat(layout.groups[group_name], group_values, "", lenient)
    try:
        return cls(**arguments)
    except UserError as reason:
        if not name:
            raise
        raise RequestError(f"{name}: {reason}") from reason


def plain(value: Any) -> Any:
    """Values as JSON and YAML know them, as `build` reads them: dataclasses as names with values,
    paths and fractions as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, _WRITTEN):
        return str(value)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value
