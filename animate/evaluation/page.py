"""The report: one HTML file with players, curves, worst frames and a table; nothing is fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jinja2

from animate.errors import MediaError, reason_of
from animate.evaluation.previews import ClipPreview
from animate.evaluation.scores import (
    ClipScores,
    Evaluation,
    Score,
    best_of,
    key_of,
    short_names,
)
from animate.evaluation.verdict import verdict
from animate.files import write_text

_TEMPLATE = Path(__file__).parent / "page.html"
_WIDTH, _HEIGHT = 720, 120
"""Size of a chart in its own units."""
MOST_COLUMNS = 12
"""Clips beside each other in table and charts; of more, the table has a row for each clip."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One figure of the table."""

    text: str
    best: bool


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measure of the table."""

    title: str
    unit: str
    protocol: str
    better: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One clip's curve in a chart."""

    clip: int
    paths: tuple[str, ...]
    """SVG points of each stretch of frames that have a value."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Curves of one measure over time."""

    title: str
    unit: str
    low: str
    high: str
    lines: tuple[Line, ...]
    borders: tuple[float, ...]
    """Positions of the windows' borders."""
    cuts: tuple[float, ...]


def write_page(
    evaluation: Evaluation, previews: Mapping[Path, ClipPreview], path: Path, title: str
) -> None:
    """Write the report. Raises MediaError where it cannot be written."""
    try:
        write_text(path, render(evaluation, previews, title))
    except OSError as reason:
        raise MediaError(f"{path} cannot be written: {reason_of(reason)}") from reason


def render(evaluation: Evaluation, previews: Mapping[Path, ClipPreview], title: str) -> str:
    """The page's HTML."""
    scored = [clip for clip in evaluation.clips if not clip.error]
    columns = scored[:MOST_COLUMNS]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    longest = max((clip.frames / clip.fps for clip in columns), default=0)
    return template.render(
        title=title,
        verdict=verdict(evaluation),
        protocols=evaluation.protocols,
        quirks=evaluation.quirks,
        names=short_names([clip.clip for clip in columns]),
        clips=columns,
        previews=[previews.get(clip.clip) for clip in columns],
        rows=[_row(mean, columns) for mean in evaluation.means()],
        pooled=[(score.definition.title, f"{score.value:.4g}") for score in evaluation.pooled],
        charts=_charts(columns, float(longest)),
        width=_WIDTH,
        height=_HEIGHT,
        seconds=float(longest),
        failed=[clip for clip in evaluation.clips if clip.error],
        others=[(clip.clip.name, _short(clip)) for clip in scored[MOST_COLUMNS:]],
        left_out=[_reasons(clip) for clip in columns],
    )


def _row(mean: Score, clips: list[ClipScores]) -> Row:
    values = [clip.value(mean.measure, mean.protocol) for clip in clips]
    best = best_of(mean.measure, values)
    definition = mean.definition
    return Row(
        title=definition.title,
        unit=definition.unit,
        protocol=mean.protocol,
        better=definition.better,
        cells=tuple(
            Cell(text="–" if v is None else f"{v:.4g}", best=i in best)
            for i, v in enumerate(values)
        ),
    )


def _short(clip: ClipScores) -> str:
    return ", ".join(f"{s.definition.title} {s.value:.4g}" for s in clip.scores)


def _reasons(clip: ClipScores) -> list[tuple[str, str]]:
    """(measures, reason) of what a clip has no figure of."""
    reasons: dict[str, list[str]] = {}
    for measure, reason in clip.left_out:
        reasons.setdefault(reason, []).append(measure)
    return [(", ".join(measures), reason) for reason, measures in reasons.items()]


def _charts(clips: list[ClipScores], seconds: float) -> list[Chart]:
    keys = dict.fromkeys(key_of(s) for clip in clips for s in clip.scores if _changes(s))
    return [_chart(key, clips, seconds) for key in keys]


def _changes(score: Score) -> bool:
    values = [value for value in score.curve if value is not None]
    return len(values) > 1 and min(values) < max(values)


def _chart(key: str, clips: list[ClipScores], seconds: float) -> Chart:
    curves = {
        index: score
        for index, clip in enumerate(clips)
        for score in clip.scores
        if key_of(score) == key and score.curve
    }
    values = [v for score in curves.values() for v in score.curve if v is not None]
    low, high = min(values), max(values)
    definition = next(iter(curves.values())).definition
    lines = []
    for index, score in curves.items():
        step = _WIDTH / (seconds * float(clips[index].fps)) if seconds else 0.0
        lines.append(Line(clip=index, paths=_stretches(score.curve, step, low, high)))
    marked = clips[next(iter(curves))]
    scale = _WIDTH / (seconds * float(marked.fps)) if seconds else 0.0
    return Chart(
        title=key.replace(next(iter(curves.values())).measure, definition.title),
        unit=definition.unit,
        low=f"{low:.3g}",
        high=f"{high:.3g}",
        lines=tuple(lines),
        borders=tuple(round(frame * scale, 2) for frame in marked.borders),
        cuts=tuple(round(frame * scale, 2) for frame in marked.cuts),
    )


def _stretches(
    curve: tuple[float | None, ...], step: float, low: float, high: float
) -> tuple[str, ...]:
    """SVG points of each stretch of values; one value alone is a short dash."""
    paths: list[str] = []
    points: list[tuple[float, float]] = []
    span = (high - low) or 1.0
    for index, value in enumerate([*curve, None]):
        if value is None:
            if len(points) == 1:
                x, y = points[0]
                points = [(x - step / 2, y), (x + step / 2, y)]
            if points:
                paths.append(" ".join(f"{x:.2f},{y:.2f}" for x, y in points))
            points = []
        else:
            points.append(((index + 0.5) * step, _HEIGHT * (1 - (value - low) / span)))
    return tuple(paths)
