"""`compare.html`: the cells of a comparison side by side, in step, with their figures.

The page is one file that needs no network. Clips that a browser plays are in it as they are, so far
as there is room; others are linked beside it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from os.path import relpath
from pathlib import Path
from urllib.parse import quote

from animate.batch.records import JobRecord, Pictures
from animate.evaluation.scores import MEASURES, best_of
from animate.files import write_text
from animate.progress import clock_text

PAGE, SHEET = "compare.html", "compare.png"
MOST_EMBEDDED = 32 << 20
"""Bytes of all clips that are put into the page."""
_PLAYED = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm"}
"""Files that browsers play, with their types."""
_SHARED_STAGES = ("load", "poses")
"""Stages that a cell may have from one before: the model in memory, the poses in the cache."""
_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of the axes' values, and its clip."""

    number: int
    """From 1; the last axis changes fastest."""
    labels: tuple[str, ...]
    """The value of each axis, as text."""
    title: str
    """All of them with the names of their settings."""
    record: JobRecord | None = None
    """The job's record; None before it was made."""

    @property
    def finished(self) -> JobRecord | None:
        """The record if the clip is there."""
        record = self.record
        return record if record is not None and record.status in ("done", "kept") else None

    @property
    def clip(self) -> Path | None:
        """The clip if it is there."""
        return self.finished.output if self.finished else None

    @property
    def error(self) -> str:
        """The message of a cell that has no clip."""
        if self.finished is not None:
            return ""
        return (self.record.error if self.record else "") or "not made"

    @property
    def seconds(self) -> float | None:
        """Seconds of work for the clip alone, without loading the model and estimating poses."""
        if self.finished is None:
            return None
        stages = {k: v for k, v in self.finished.seconds.items() if k not in _SHARED_STAGES}
        return sum(stages.values()) if stages else None

    @property
    def memory(self) -> int | None:
        """Most bytes on the accelerator, or of the worker's process where there is none."""
        record = self.finished
        return (record.peak_device_bytes or record.peak_host_bytes) if record else None

    def to_dict(self, axes: Sequence[str]) -> dict[str, object]:
        """As JSON values."""
        record = self.record
        return {
            "number": self.number,
            "values": dict(zip(axes, self.labels, strict=True)),
            "status": record.status if record else "waiting",
            "clip": str(self.clip) if self.clip else None,
            "seconds": self.seconds,
            "stages": dict(record.seconds) if record else {},
            "memory": self.memory,
            "frames": record.frames if record else None,
            "scores": dict(record.scores) if record else {},
            "error": self.error,
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The cells of a grid after they were made."""

    axes: tuple[str, ...]
    """Names of the settings that vary."""
    cells: tuple[Cell, ...]
    common: Mapping[str, str]
    """Settings that all cells have, as text."""
    workers: int
    """Jobs that were made at a time."""
    protocol: str
    """Protocol of the scores; empty where there are none."""
    truth: Path | None
    """The true clip that cells were compared with."""
    page: Path
    """`compare.html`."""
    sheet: Path
    """`compare.png`."""

    @property
    def failed(self) -> tuple[Cell, ...]:
        """Cells without a clip."""
        return tuple(cell for cell in self.cells if cell.finished is None)


@dataclass(frozen=True, kw_only=True)
class Player:
    """One cell as the page shows it."""

    cell: Cell
    source: str
    """Address of the clip: its content, or its name beside the page; empty where none plays."""
    link: str
    """Address of the file beside the page."""
    poster: str
    """A frame of the clip as JPEG in base64."""
    fps: float
    facts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One row of the table."""

    title: str
    unit: str
    better: str
    texts: tuple[str, ...]
    shares: tuple[float | None, ...]
    """Each value over the largest one, for a bar; None where it has none."""
    best: frozenset[int]


def write_page(comparison: Comparison) -> None:
    """Write the page. Raises OSError where it cannot be written."""
    write_text(comparison.page, render(comparison), follow=False)


def render(comparison: Comparison) -> str:
    """The page's HTML; every value in it is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    columns, cells = _laid_out(comparison)
    return environment.get_template(PAGE).render(
        comparison=comparison,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        columns=columns,
        players=_players(cells, comparison.page.parent),
        figures=_figures(cells),
        inputs=_inputs(cells),
        axes=[name.replace("_", " ") for name in comparison.axes],
        common=[(name.replace("_", " "), text) for name, text in comparison.common.items()],
    )


def _laid_out(comparison: Comparison) -> tuple[int, list[Cell]]:
    """Columns of the grid (0: as many as there is room for), and the cells row by row: the axis
    with the most values runs across."""
    cells = list(comparison.cells)
    if len(comparison.axes) < 2:
        return 0, cells
    values = [dict.fromkeys(c.labels[axis] for c in cells) for axis in range(len(comparison.axes))]
    across = max(range(len(values)), key=lambda axis: len(values[axis]))
    positions = [{label: i for i, label in enumerate(labels)} for labels in values]

    def row_by_row(cell: Cell) -> list[int]:
        indices = [positions[axis][label] for axis, label in enumerate(cell.labels)]
        return [*indices[:across], *indices[across + 1 :], indices[across]]

    return len(values[across]), sorted(cells, key=row_by_row)


def _players(cells: Sequence[Cell], folder: Path) -> list[Player]:
    players, room = [], MOST_EMBEDDED
    for cell in cells:
        clip, record = cell.clip, cell.finished
        source = link = poster = ""
        if clip is not None and record is not None:
            source = link = quote(relpath(clip, folder))
            kind = _PLAYED.get(clip.suffix.lower())
            if kind is None or not clip.is_file():
                source = ""
            elif clip.stat().st_size <= room:
                content = clip.read_bytes()
                room -= len(content)
                source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
            results = record.pictures.results
            poster = results[len(results) // 2] if results else ""
        fps = float(Fraction(record.fps)) if record and record.fps else 0.0
        players.append(
            Player(
                cell=cell, source=source, link=link, poster=poster, fps=fps, facts=_facts(record)
            )
        )
    return players


def _facts(record: JobRecord | None) -> tuple[str, ...]:
    if record is None:
        return ()
    facts = [f"{record.frames} frames" if record.frames else "", record.size]
    return tuple(fact for fact in facts if fact)


def _inputs(cells: Sequence[Cell]) -> Pictures:
    """Small pictures of the inputs, of the first cell that has them."""
    records = [cell.record for cell in cells if cell.record is not None]
    return next((r.pictures for r in records if r.pictures.reference), Pictures())


def _figures(cells: Sequence[Cell]) -> list[Figure]:
    """Time, memory and scores of all cells, the better ones marked."""
    frames = [cell.finished.frames if cell.finished else None for cell in cells]
    seconds = [cell.seconds for cell in cells]
    rates = [s / f if s is not None and f else None for s, f in zip(seconds, frames, strict=True)]
    memory = [None if c.memory is None else c.memory / _GIB for c in cells]
    figures = [
        _figure("time", "", seconds, [clock_text(s) if s is not None else "" for s in seconds]),
        _figure("time of a frame", "s", rates, [_number(rate) for rate in rates]),
        _figure("memory", "GiB", memory, [_number(value) for value in memory]),
    ]
    for measure, definition in MEASURES.items():
        values = [c.finished.scores.get(measure) if c.finished else None for c in cells]
        if any(value is not None for value in values):
            best = best_of(measure, values)
            figures.append(
                Figure(
                    title=definition.title,
                    unit=definition.unit,
                    better=definition.better,
                    texts=tuple(map(_number, values)),
                    shares=(None,) * len(values),
                    best=frozenset(best),
                )
            )
    return figures


def _figure(title: str, unit: str, values: Sequence[float | None], texts: Sequence[str]) -> Figure:
    known = [value for value in values if value is not None]
    largest = max(known, default=0.0) or 1.0
    least = min(known, default=0.0)
    best = {i for i, v in enumerate(values) if v is not None and v <= least * 1.02}
    return Figure(
        title=title,
        unit=unit,
        better="lower",
        texts=tuple(text or "–" for text in texts),
        shares=tuple(None if value is None else value / largest for value in values),
        best=frozenset(best if len(best) < len(known) else ()),
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
