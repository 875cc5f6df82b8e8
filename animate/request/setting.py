"""One setting: a field of a dataclass, made by `option`, and what it states.

`animate.request.schema` reads and writes dataclasses of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    NoReturn,
    Self,
    TypeVar,
    get_origin,
    overload,
)

from animate.errors import InternalError, RequestError
from animate.request.typed_values import WORDS, analysed, leaves, read_as, words_of
from animate.request.wording import quoted

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

SETTING, GROUP = "setting", "group"
"""Names under which a field's metadata holds what it states."""


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
    timed: bool
    """True where the seconds that a step of a clip takes may hang on it; inputs and places say so,
    the others say where they do not."""

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
    def default_text(self) -> str:
        """The default as it would be typed; empty where there is none."""
        if isinstance(self.default, bool):
            return str(self.default).lower()
        if type(self.default) is tuple:
            return ",".join(map(str, self.default))
        if isinstance(self.default, float):
            return f"{self.default:g}"
        return "" if self.default is None else str(self.default)

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
            typed = read_as(*self._analysed, self.hint, value, self.name, _refuse)
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


def _refuse(kind: Any, value: Any, name: str) -> NoReturn:
    raise InternalError(f"the setting {name} holds a {kind.__name__}, which belongs in a group")


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
    timed: bool | None = None,
) -> Any:
    """A field that is a setting; see `Setting` for what it states."""
    stated = {
        "help": help,
        "role": role,
        "parse": parse,
        "least": least,
        "most": most,
        "metavar": metavar,
        "usual": usual,
        "timed": role not in ("input", "place") if timed is None else timed,
    }
    return field(default=default, metadata={SETTING: stated})


def group(kind: Callable[[], Any]) -> Any:
    """A field that holds a dataclass of settings, by default with their defaults."""
    default = cache(kind)  # frozen, so that all may have the same
    return field(default_factory=lambda: default(), metadata={GROUP: True})
