"""The rows of a manifest file as names with values, one at a time.

JSONL is the canonical form: an object a line. CSV has its names in the first line, and an empty
cell is not given. YAML holds `rows`, and if wanted `defaults` and `name`. A row that cannot be
read is a `Row` with a mistake, so that one look finds all of them. `kind` beside a row's settings
says what it is for (`animate.batch.kinds`); without, it is for a clip.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from animate.batch.kinds import KINDS, RowKind, kind_named
from animate.batch.records import USUAL_KIND
from animate.errors import ManifestError, RequestError
from animate.files import open_regular
from animate.request.schema import flat, knows, settings_of
from animate.request.wording import nearest, quoted
from animate.request.yaml_file import read_yaml

_LONGEST_LINE = 1_000_000
_KIND = "kind"
"""Name beside a row's settings that says what they are for."""
_Read = tuple[RowKind[Any], Mapping[str, object]]
"""A row's kind and its values by flat names."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row as it stands in the file."""

    number: int
    """From 1, blank lines not counted."""
    line: int | None = None
    """Line in the file; None where the file has no lines of its own."""
    kind: RowKind[Any] = field(default_factory=lambda: kind_named(USUAL_KIND))
    """The kind of request that it is for."""
    values: Mapping[str, object] = field(default_factory=dict)
    """Values by flat names; empty where there is a mistake."""
    mistake: str = ""
    """The reason why it cannot be read."""

    @property
    def label(self) -> str:
        """Its position, for messages."""
        return f"row {self.number}" + (f" (line {self.line})" if self.line else "")


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A manifest's rows, and its settings for all of them."""

    rows: Iterator[Row]
    """Read as they are asked for."""
    defaults: Mapping[str, Mapping[str, object]] = field(
        default_factory=lambda: {kind: {} for kind in KINDS}
    )
    """Settings for rows that do not give them, by the name of their kind."""
    name: str | None = None
    """Template of output names, None for the usual."""


def read_sheet(path: Path) -> Sheet:
    """Open a manifest by its suffix. Raises ManifestError when it cannot be read at all."""
    readers = {".jsonl": _jsonl, ".ndjson": _jsonl, ".csv": _csv, ".yaml": _yaml, ".yml": _yaml}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ManifestError(f"manifest {path} must be a .jsonl, .csv or .yaml file")
    if path.is_dir():
        raise ManifestError(f"manifest {path} is a folder; name the file")
    try:
        with open_regular(path):
            return reader(path)
    except FileNotFoundError:
        raise ManifestError(f"manifest {path} does not exist; check the path") from None
    except OSError as reason:
        raise ManifestError(f"manifest {path} cannot be read: {reason.strerror}") from reason


def _jsonl(path: Path) -> Sheet:
    return Sheet(rows=_jsonl_rows(path))


def _jsonl_rows(path: Path) -> Iterator[Row]:
    number = 0
    with open(path, "rb") as file:
        for line, content in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), start=1):
            if line == 1:
                content = content.removeprefix(b"\xef\xbb\xbf")
            if len(content) == _LONGEST_LINE and not content.endswith(b"\n"):
                number += 1
                mistake = f"this line is longer than {_LONGEST_LINE:,} bytes"
                yield Row(number=number, line=line, mistake=mistake)
                while content and not content.endswith(b"\n"):
                    content = file.readline(_LONGEST_LINE)
            elif content.strip():
                number += 1
                yield _read(number, line, _line, content)


def _line(content: bytes) -> _Read:
    return _with_kind(_object(content), USUAL_KIND)


def _with_kind(values: Mapping[Any, Any], usual: str) -> _Read:
    """A row's kind, and its values by flat names. Raises RequestError."""
    if _KIND not in values:
        kind = kind_named(usual)
        return kind, flat(kind.settings, values)
    kind = kind_named(values[_KIND])
    return kind, flat(kind.settings, {name: v for name, v in values.items() if name != _KIND})


def _object(content: bytes) -> Mapping[Any, Any]:
    try:
        value = _JSON.decode(content.decode(json.detect_encoding(content), "surrogatepass"))
    except (ValueError, RecursionError) as reason:
        raise RequestError(f"this line is not JSON ({reason})") from None
    if not isinstance(value, dict):
        raise RequestError(f"this line must be an object {{...}}, not {type(value).__name__}")
    return value


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"{quoted(name)} is given twice")
        values[name] = value
    return values


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number")


_JSON = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_no_constant)


def _csv(path: Path) -> Sheet:
    """The header is read at once, since a misspelt column is one mistake and not one a row."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            header = [name.strip() for name in next(csv.reader(file, strict=True), [])]
    except (UnicodeDecodeError, csv.Error) as reason:
        raise ManifestError(f"manifest {path}, line 1: {reason}") from None
    if not any(header):
        return Sheet(rows=iter(()))
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise ManifestError(f"manifest {path}, line 1: separate the columns by commas")
    try:
        by_kind(dict.fromkeys(name for name in header if name != _KIND))
    except RequestError as mistake:
        raise ManifestError(f"manifest {path}, line 1: {mistake}") from None
    if len(set(header)) != len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise ManifestError(f"manifest {path}, line 1: column {twice!r} is there twice")
    return Sheet(rows=_csv_rows(path, header))


def _csv_rows(path: Path, header: list[str]) -> Iterator[Row]:
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file, strict=True)
        next(reader)
        number = 0
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as reason:
                yield Row(number=number + 1, line=line, mistake=f"this is not CSV: {reason}")
                return
            if cells is None:
                return
            if cells:
                number += 1
                yield _read(number, line, _cells, header, cells)


def _cells(header: list[str], cells: list[str]) -> _Read:
    if len(cells) != len(header):
        raise RequestError(
            f"{len(cells)} cells under {len(header)} columns; quote cells with commas"
        )
    if any("\ufffd" in cell for cell in cells):
        raise RequestError("this line is not UTF-8; save the file as UTF-8")
    columns = zip(header, cells, strict=True)
    values = {name.replace("-", "_"): text for name, cell in columns if (text := cell.strip())}
    kind = kind_named(values.pop(_KIND, USUAL_KIND))
    settings = settings_of(kind.settings)
    if not values.keys() <= settings.keys():
        flat(kind.settings, values)  # says which it does not have
    return kind, {name: settings[name].read_text(text) for name, text in values.items()}


def _yaml(path: Path) -> Sheet:
    content = read_yaml(path, ManifestError, keep_tagged=True)
    if unknown := [name for name in content if name not in ("rows", "defaults", "name")]:
        hint = nearest(str(unknown[0]), ["rows", "defaults", "name"])
        raise ManifestError(
            f"manifest {path}: unknown {unknown[0]!r}{hint} It holds rows, and defaults and name "
            "if wanted"
        )
    rows, defaults = content.get("rows") or [], content.get("defaults") or {}
    name = content.get("name")
    if not isinstance(rows, list) or not isinstance(defaults, dict):
        raise ManifestError(f"manifest {path}: rows must be a list, and defaults names with values")
    if not isinstance(name, str | None):
        raise ManifestError(f"manifest {path}: name {quoted(name)} is not text")
    usual = defaults.pop(_KIND, USUAL_KIND)
    try:
        kind_named(usual)
        settings = by_kind(defaults)
    except RequestError as mistake:
        raise ManifestError(f"manifest {path}, defaults: {mistake}") from None
    return Sheet(rows=_listed(rows, usual), defaults=settings, name=name)


def by_kind(values: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Settings for all rows by the names of kinds, each with those that it has.

    Raises RequestError for a name that no kind has.
    """
    parts: dict[str, dict[str, object]] = {}
    known: set[str] = set()
    for name, kind in KINDS.items():
        chosen = {key: v for key, v in values.items() if knows(kind.settings, key)}
        parts[name] = flat(kind.settings, chosen)
        known |= chosen.keys()
    unknown = {key: v for key, v in values.items() if key not in known}
    if unknown:
        flat(kind_named(USUAL_KIND).settings, unknown)  # says which, and the nearest name
    return parts


def _listed(rows: list[Any], usual: str) -> Iterator[Row]:
    for number, values in enumerate(rows, start=1):
        yield _read(number, None, _mapping, values, usual)


def _mapping(values: Any, usual: str) -> _Read:
    if not isinstance(values, dict):
        raise RequestError(f"a row must hold names with values, not {type(values).__name__}")
    return _with_kind(values, usual)


def _read(number: int, line: int | None, read: Callable[..., _Read], *content: Any) -> Row:
    try:
        kind, values = read(*content)
        return Row(number=number, line=line, kind=kind, values=values)
    except RequestError as mistake:
        return Row(number=number, line=line, mistake=str(mistake))
