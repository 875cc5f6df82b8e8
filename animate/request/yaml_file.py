"""YAML as people mean it, read without being taken for anything else.

PyYAML follows YAML 1.1, where `1:30` is the number 90, `no` is false and `012` is octal. A file of
settings has frame ranges, guidance `1:3` and names in it, so only the JSON-like types of YAML 1.2's
core schema are known here, and a name that is given twice is an error.

The values are built from the parser's events, one after the other: there is no recursion that a
deep file could exhaust, and a file that would grow beyond its bounds through aliases is refused
before anything is built.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from animate.errors import RequestError, UserError, reason_of
from animate.files import open_regular
from animate.request.wording import quoted

MOST_BYTES = 64 * 2**20
MOST_DEPTH = 64
"""Lists and names within each other."""
MOST_VALUES = 4_000_000
"""Values of a file, those counted again that an alias repeats: 100,000 rows of forty settings."""
MOST_NAMES = 10_000
"""Names of one mapping; the most that a variant has are its files."""
LONGEST_NAME = 1024

_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, some ten times faster
_TAG = "tag:yaml.org,2002:"
_PLAIN: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
    ("null", r"~|null|Null|NULL|", lambda text: None),
    ("bool", r"true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", int),
    (
        "float",
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.inf|\.nan",
        lambda text: float(text.replace(".inf", "inf").replace(".nan", "nan")),
    ),
)
_SCALARS = [(_TAG + name, re.compile(pattern), read) for name, pattern, read in _PLAIN]


@dataclass(frozen=True)
class Tagged:
    """A value of a tag that is unknown here, such as `!!binary`; no setting takes it."""

    tag: str

    def __repr__(self) -> str:
        return f"of the unknown tag {self.tag}"


def read_yaml(
    path: Path | str, error: type[UserError] = RequestError, *, keep_tagged: bool = False
) -> dict[str, object]:
    """The mapping in a YAML file; an empty file is an empty mapping.

    keep_tagged: values of unknown tags stay as `Tagged`, for the row of a manifest that has them
    Raises `error`, naming file and line, when it cannot be read, is not YAML, names something
    twice, is larger than a file of settings can be, or is not a mapping.
    """
    try:
        with open_regular(path) as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise error(f"{path} does not exist; check the path") from None
    except (OSError, ValueError) as reason:
        raise error(f"{path} cannot be read: {reason_of(reason)}") from reason
    try:
        return _mapping(content, keep_tagged)
    except _Fault as fault:
        raise error(f"{path}{fault.line}: {fault}") from None


def _mapping(content: bytes, keep_tagged: bool) -> dict[str, object]:
    if len(content) > MOST_BYTES:
        raise _Fault(f"larger than {MOST_BYTES >> 20} MiB, which no file of settings is")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise _Fault(f"not UTF-8 at byte {reason.start}; save the file as UTF-8") from None
    try:
        values = _built(text, keep_tagged)
    except yaml.YAMLError as reason:
        mark = getattr(reason, "problem_mark", None)
        problem = getattr(reason, "problem", None) or str(reason).splitlines()[0]
        raise _Fault(problem, mark) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise _Fault(f"must hold names with values, not {type(values).__name__}")
    return values


class _Fault(Exception):
    """A fault of the file, and its line, in words."""

    def __init__(self, text: str, mark: Any = None) -> None:
        super().__init__(text)
        self.line = f", line {mark.line + 1}" if mark is not None else ""


class _UnknownTag(Exception):
    """A scalar's tag is none of the JSON-like types, or its text is not of that type."""


_KEYLESS = object()


@dataclass
class _Open:
    """A list or mapping that has not ended yet."""

    values: list[object] | dict[str, object]
    anchor: str | None
    size: int = 1
    """Values in it so far, itself among them."""
    key: Any = _KEYLESS
    tagged: Tagged | None = None
    """Stands for the values where their tag is unknown."""

    def add(self, value: Any, size: int, mark: Any) -> None:
        """Put in a value of that many values; in a mapping a name, then its value."""
        self.size += size
        if isinstance(self.values, list):
            self.values.append(value)
        elif self.key is _KEYLESS:
            self._name(value, mark)
        else:
            self.values[self.key] = value
            self.key = _KEYLESS

    def _name(self, value: Any, mark: Any) -> None:
        if not isinstance(value, _Name):
            raise _Fault("a name must be text, not a list or names with values", mark)
        name = value.text
        if len(name) > LONGEST_NAME:
            raise _Fault(f"the name {quoted(name)} has {len(name)} characters", mark)
        if name in self.values:
            raise _Fault(f"{name!r} is given twice", mark)
        if len(self.values) >= MOST_NAMES:
            raise _Fault(f"more than {MOST_NAMES} names; a file of settings has no so many", mark)
        self.key = name


@dataclass
class _Name:
    """A scalar where a mapping expects a name."""

    text: str


@dataclass
class _Builder:
    """Makes values of a parser's events."""

    open: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[Any, int]] = field(default_factory=dict)
    """Value and size of what has a name of its own."""
    total: int = 0
    root: Any = None
    keep_tagged: bool = False

    def event(self, event: Any) -> None:
        mark = event.start_mark
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._start(event, mark)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            ended = self.open.pop()
            self._add(ended.tagged or ended.values, ended.size, ended.anchor, mark)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(str(event.anchor), mark)
        elif isinstance(event, yaml.ScalarEvent):
            if not event.value.isascii() and re.search("[\ud800-\udfff]", event.value):
                raise _Fault(f"half a character in {quoted(event.value)}", mark)
            value = _Name(event.value) if self._expects_name() else self._scalar(event, mark)
            self._count(1, mark)
            self._add(value, 1, event.anchor, mark)
        elif isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            raise _Fault("a second document begins; a file of settings has one", mark)

    def _expects_name(self) -> bool:
        top = self.open[-1] if self.open else None
        return top is not None and isinstance(top.values, dict) and top.key is _KEYLESS

    def _start(self, event: Any, mark: Any) -> None:
        mapping = isinstance(event, yaml.MappingStartEvent)
        known = event.tag in (None, "!", _TAG + ("map" if mapping else "seq"))
        tagged = None if known else self._tagged(event.tag, mark)
        if len(self.open) >= MOST_DEPTH:
            raise _Fault(f"more than {MOST_DEPTH} levels within each other", mark)
        self._count(1, mark)
        self.open.append(_Open({} if mapping else [], event.anchor, tagged=tagged))

    def _scalar(self, event: Any, mark: Any) -> Any:
        try:
            return _scalar(event, mark)
        except _UnknownTag:
            return self._tagged(event.tag, mark)

    def _tagged(self, tag: str, mark: Any) -> Tagged:
        if not self.keep_tagged:
            raise _Fault(f"the tag {quoted(tag)} is unknown here; leave it out", mark)
        return Tagged(tag.replace(_TAG, "!!"))

    def _alias(self, name: str, mark: Any) -> None:
        if name not in self.anchors:
            known = any(part.anchor == name for part in self.open)
            problem = "holds itself" if known else "is not the name of anything before it"
            raise _Fault(f"the alias *{name} {problem}", mark)
        value, size = self.anchors[name]
        self._count(size, mark)
        self._add(_Name(str(value)) if self._expects_name() else value, size, None, mark)

    def _count(self, size: int, mark: Any) -> None:
        self.total += size
        if self.total > MOST_VALUES:
            raise _Fault(f"more than {MOST_VALUES:,} values, aliases repeated", mark)

    def _add(self, value: Any, size: int, anchor: str | None, mark: Any) -> None:
        if anchor is not None:
            self.anchors[anchor] = (value.text if isinstance(value, _Name) else value, size)
        if self.open:
            self.open[-1].add(value, size, mark)
        else:
            self.root = value


def _built(text: str, keep_tagged: bool) -> Any:
    """The value of a text's only document. Raises _Fault or YAMLError."""
    builder = _Builder(keep_tagged=keep_tagged)
    for event in yaml.parse(text, Loader=_PARSER):
        builder.event(event)
    return builder.root


def _scalar(event: Any, mark: Any) -> Any:
    is_plain = event.implicit[0]
    text: str = event.value
    if event.tag == _TAG + "str" or (event.tag in (None, "!") and not is_plain):
        return text
    for tag, pattern, read in _SCALARS:
        if event.tag in (None, tag) and pattern.fullmatch(text):
            try:
                return read(text)
            except ValueError:  # Python reads no number of more than 4,300 digits
                raise _Fault(f"a number of {len(text)} digits", mark) from None
    if event.tag not in (None, "!"):
        raise _UnknownTag
    return text
