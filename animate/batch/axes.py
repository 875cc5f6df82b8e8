"""Axes of a comparison: settings, and the values that each has in the cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animate.errors import RequestError
from animate.request.request import AnimationRequest
from animate.request.schema import settings_of
from animate.request.wording import nearest, quoted

PROTOCOL = "clean"
"""Protocol that cells are scored by unless another is named."""
MOST_CELLS = 100
"""Cells that a page can show beside each other."""
FIXED = (
    "output", "overwrite", "side_by_side", "contact_sheet", "work", "keep_work", "cache", "sign",
)  # fmt: skip
"""Settings that say where files go, and so cannot tell two cells apart."""
_USUAL = "default"
"""Label of a cell that leaves a setting open."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A setting, and the values that it has in the cells."""

    setting: str
    """Name of the setting."""
    values: tuple[Any, ...]
    """Typed values in the order of the cells; None leaves the setting open."""

    @classmethod
    def parse(cls, text: str) -> Axis:
        """`NAME=VALUE,VALUE,...`; an empty value leaves the setting open.

        NAME may have its section before it, such as `sampling.seed`. Raises RequestError.
        """
        name, equals, values = text.partition("=")
        if not equals:
            raise RequestError(f"{quoted(text)} is not NAME=VALUE,VALUE, such as seed=1,2,3")
        setting = settings_of(AnimationRequest)[known_setting(name)]
        texts = [text.strip() for text in values.split(",")]
        return cls.of(setting.name, [setting.read_text(t) if t else None for t in texts])

    @classmethod
    def of(cls, name: str, values: Iterable[Any]) -> Axis:
        """An axis of typed or plain values. Raises RequestError for bad, equal or no values."""
        setting = settings_of(AnimationRequest)[known_setting(name)]
        chosen = tuple(None if v is None else setting.read(v) for v in values)
        if not chosen:
            raise RequestError(f"{setting.name} has no values to compare; give at least one")
        for index, value in enumerate(chosen):
            if value in chosen[:index]:
                raise RequestError(f"{setting.name} has the value {value_text(value)} twice")
        return cls(setting=setting.name, values=chosen)

    def labels(self) -> list[str]:
        """A short text for each value: of a file its name, where names differ."""
        names = [value_text(value) for value in self.values]
        if settings_of(AnimationRequest)[self.setting].holds_paths:
            short = [Path(name).name for name in names]
            names = short if len(set(short)) == len(short) else names
        return names


def known_setting(name: str) -> str:
    """The name of a setting without its section. Raises RequestError for one that cannot vary."""
    section, _, last = name.strip().replace("-", "_").rpartition(".")
    settings = settings_of(AnimationRequest)
    setting = settings.get(last)
    if setting is None or (section and setting.group != section):
        known = {*settings, *(f"{s.group}.{s.name}" for s in settings.values() if s.group)}
        raise RequestError(f"unknown setting {quoted(name)}{nearest(name, known - {*FIXED})}")
    if last in FIXED:
        raise RequestError(f"{last} says where files go; compare settings that decide the clip")
    return last


def value_text(value: Any) -> str:
    """A value as a page shows it."""
    if value is None:
        return _USUAL
    if isinstance(value, bool):
        return "on" if value else "off"
    if type(value) is tuple:
        return " ".join(map(value_text, value)) or "none"
    return str(value)


def axes_of(
    models: Sequence[str | Path], vary: Mapping[str, Sequence[Any]] | Sequence[Axis]
) -> list[Axis]:
    """The axes of a grid. Raises RequestError for none, too many, or one named twice."""
    axes = [Axis.of("model", models)] if models else []
    axes += [Axis.of(*item) for item in vary.items()] if isinstance(vary, Mapping) else list(vary)
    names = [axis.setting for axis in axes]
    if not axes:
        raise RequestError("there is nothing to compare; name models, or a setting with its values")
    if twice := [name for name in names if names.count(name) > 1]:
        raise RequestError(f"{twice[0]} is varied twice; give all its values at once")
    count = 1
    for axis in axes:
        count *= len(axis.values)
    if count > MOST_CELLS:
        raise RequestError(f"that makes {count} cells; a page shows at most {MOST_CELLS}")
    return axes


def varying(axes: Sequence[Axis]) -> Sequence[Axis]:
    """Axes with several values; all of them where there is none."""
    return [axis for axis in axes if len(axis.values) > 1] or axes
