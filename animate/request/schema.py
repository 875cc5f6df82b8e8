"""The one reader and writer of settings: dataclasses from plain values, and back.

Python calls, YAML files, manifests, model variants, training recipes and the command line all come
through here, so a value means the same everywhere, and its fault is named in the same words.

A setting is a dataclass field made by `option`, which holds its help, its bounds and its role; a
field without is read by its type alone. A field made by `group` holds a dataclass of settings whose
names may stand beside those of the outer one: `steps` for `sampling: {steps: ...}`.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from fractions import Fraction
from functools import cache, cached_property
from pathlib import Path, PurePath
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    Self,
    TypeVar,
    cast,
    get_origin,
    get_type_hints,
    overload,
)

from animate.errors import RequestError, UserError
from animate.request.typed_values import WORDS, analysed, leaves, read_as, read_typed, words_of
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
Role = Literal["input", "output", "place", "look", "runtime"]
"""Roles of settings: `input` names files that are read and decide the pictures; `output` says what
is written and how; `place` names folders that keep something between runs; `look` decides the
pictures itself; `runtime` says how they are computed."""

NONE = Path("none")
"""The word that a place takes for no folder at all."""

Value = TypeVar("Value", covariant=True)
Taken = TypeVar("Taken", contravariant=True)
if TYPE_CHECKING:

    class Converted(Generic[Value, Taken]):
        """A field that holds a `Value` and takes a `Taken`, which the reader converts."""

        @overload
        def __get__(self, instance: None, owner: Any) -> Self: ...
        @overload
        def __get__(self, instance: object, owner: Any) -> Value: ...
        def __get__(self, instance: Any, owner: Any) -> Any: ...
        def __set__(self, instance: object, value: Taken) -> None: ...

else:  # only the type of the value counts
    Converted = Annotated

_SETTING, _GROUP = "setting", "group"
_WRITTEN = (
    *(Size, Guidance, NoiseInterval, Strength, Signing),
    *(ModelName, PurePath, Fraction, FrameNumber),
)
"""Types whose plain value is text that they parse."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting, as its field states it."""

    name: str
    """Name of the field."""
    group: str
    """Field of the outer dataclass that holds it; empty where it is the outer one's own."""
    role: Role
    help: str
    hint: Any
    """Type of the value."""
    default: Any
    parse: Callable[[Any], Any] | None
    """Reads text and plain values; None: the type says how."""
    least: float | None
    most: float | None
    metavar: str | None
    """Placeholder of the value in the command's help."""
    usual: bool
    """True for what the command's short help shows."""

    @property
    def flag(self) -> str:
        """The option of the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def holds_paths(self) -> bool:
        """True for paths, and for values with paths among their parts."""
        return any(kind is Path or hasattr(kind, "with_paths") for kind in self.kinds)

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed words; empty where other values are allowed."""
        return words_of(self.hint)

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The types that a value may have, words among them."""
        return tuple(leaves(self.hint))

    def value(self, options: Any) -> Any:
        """The value that a dataclass of options has, or its group."""
        return getattr(getattr(options, self.group) if self.group else options, self.name)

    def read(self, value: Any) -> Any:
        """The typed value of a plain one; None stands for the default.

        Raises RequestError where it is not allowed.
        """
        if value is None:
            return self.default
        if self.parse:
            typed = self.parse(value)
        else:
            typed = read_as(*self._analysed, self.hint, value, self.name, _strictly)
        if isinstance(typed, int | float) and not isinstance(typed, bool):
            self._check_bounds(typed)
        return typed

    @cached_property
    def _analysed(self) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        return analysed(self.hint)

    def read_text(self, text: str) -> Any:
        """The typed value of a text that somebody typed. Raises RequestError."""
        if self.parse is None and bool in self.kinds:
            if text.lower() not in ("true", "false"):
                raise RequestError(f"{self.name} {quoted(text)} is not true or false")
            return text.lower() == "true"
        if self.parse is None and get_origin(self.hint) is tuple:
            return self.read([text])
        numbers = [kind for kind in self.kinds if kind in (int, float)]
        if self.parse is not None or not numbers:
            return self.read(text)
        try:
            return self.read(numbers[0](text))
        except ValueError:
            words = WORDS[numbers[0]]
            raise RequestError(f"{self.name} {quoted(text)} is not {words}") from None

    def _check_bounds(self, value: float) -> None:
        # Written so that NaN fails as well.
        low = self.least is None or value >= self.least
        high = self.most is None or value <= self.most
        if not (low and high):
            bounds = [f"at least {self.least}"] if self.least is not None else []
            bounds += [f"at most {self.most}"] if self.most is not None else []
            limits = " and ".join(bounds)
            raise RequestError(f"{self.name} {quoted(value)} is out of range: {limits}")


def option(
    default: Any,
    help: str,
    *,
    role: Role = "look",
    parse: Callable[[Any], Any] | None = None,
    least: float | None = None,
    most: float | None = None,
    metavar: str | None = None,
    usual: bool = False,
) -> Any:
    """A field that is a setting; see `Setting` for what it states."""
    stated = {"help": help, "role": role, "parse": parse, "least": least, "most": most}
    return field(
        default=default, metadata={_SETTING: {**stated, "metavar": metavar, "usual": usual}}
    )


def group(kind: Callable[[], Any]) -> Any:
    """A field that holds a dataclass of settings, by default with their defaults."""
    default = cache(kind)  # frozen, so that all may have the same
    return field(default_factory=lambda: default(), metadata={_GROUP: True})


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
    groups = {item.name: hints[item.name] for item in items if _GROUP in item.metadata}
    ungrouped = tuple(
        Setting(name=item.name, group="", hint=hints[item.name], default=item.default, **stated)
        for item in items
        if (stated := item.metadata.get(_SETTING))
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
