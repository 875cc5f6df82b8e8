"""`compare.png`: a row of frames for each cell of a comparison, at the same moments of the clip."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from animate.batch.compare_page import Cell, Comparison
from animate.errors import UserError
from animate.media import open_video, write_png
from animate.media.info import Image
from animate.progress import clock_text

MOMENTS = 6
"""Frames of a cell at most."""
_HEIGHT = 200
"""Pixels of a frame's height at most."""
_LEAST_HEIGHT = 120
_GAP, _MARGIN, _LABEL = 6, 22, 250
_PAPER, _INK, _SOFT = (250, 249, 245), (29, 29, 27), (106, 105, 99)
_BAD, _EMPTY = (179, 54, 42), (236, 235, 228)
_MOST_LINES = 7


def write_sheet(comparison: Comparison) -> None:
    """Write the sheet. Raises MediaError or OSError where it cannot be written."""
    write_png(comparison.sheet, np.asarray(picture(comparison)), follow=False)


def picture(comparison: Comparison) -> PIL.Image.Image:
    """The sheet: a label and `MOMENTS` frames of every cell, from the first to the last."""
    moments = _moments(comparison.cells)
    rows = [_frames(cell, moments) for cell in comparison.cells]
    width, height = _tile_size(rows)
    columns = max((len(row) for row in rows), default=0) or 1
    sheet_width = 2 * _MARGIN + _LABEL + columns * (width + _GAP)
    head = 40
    sheet = PIL.Image.new(
        "RGB", (sheet_width, head + len(rows) * (height + _GAP) + _MARGIN), _PAPER
    )
    drawing = PIL.ImageDraw.Draw(sheet)
    for column, moment in enumerate(moments[:columns]):
        x = _MARGIN + _LABEL + column * (width + _GAP)
        drawing.text((x, 16), f"{float(moment):.2f} s", _SOFT, font=_font(13))
    for index, (cell, frames) in enumerate(zip(comparison.cells, rows, strict=True)):
        top = head + index * (height + _GAP)
        _write_label(drawing, cell, top, height)
        for column in range(columns):
            x = _MARGIN + _LABEL + column * (width + _GAP)
            if column < len(frames):
                tile = _fitted(frames[column], width, height)
                left, above = (width - tile.width) // 2, (height - tile.height) // 2
                sheet.paste(tile, (x + left, top + above))
            else:
                drawing.rectangle((x, top, x + width - 1, top + height - 1), _EMPTY)
    return sheet


def _fitted(frame: Image, width: int, height: int) -> PIL.Image.Image:
    """A frame as large as it fits."""
    scale = min(width / frame.shape[1], height / frame.shape[0])
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    return PIL.Image.fromarray(frame).resize(size, PIL.Image.Resampling.LANCZOS)


def _moments(cells: Sequence[Cell]) -> list[Fraction]:
    """Times of the frames, evenly spread from the first to the last frame of the shortest; no more
    than it has frames."""
    clips = [
        ((record.frames - 1) / Fraction(record.fps), record.frames)
        for cell in cells
        if (record := cell.finished) is not None and record.frames and record.fps
    ]
    end, frames = min(clips, default=(Fraction(0), 1))
    columns = min(MOMENTS, frames)
    return [end * index / max(1, columns - 1) for index in range(columns)]


def _frames(cell: Cell, moments: Sequence[Fraction]) -> list[Image]:
    """The frames that are shown at these moments; none where the clip cannot be read."""
    record, clip = cell.finished, cell.clip
    if record is None or clip is None or not record.fps:
        return []
    frame_numbers = [round(moment * Fraction(record.fps)) for moment in moments]
    frames: dict[int, Image] = {}
    with suppress(UserError, OSError):
        for index, frame in enumerate(open_video(clip).read()):
            if index in frame_numbers:
                frames[index] = _reduced(frame.image)
            if index >= max(frame_numbers):
                break
    return [frames[index] for index in frame_numbers if index in frames]


def _reduced(image: Image) -> Image:
    """A frame of at most `_HEIGHT` rows, so that many of them need little memory."""
    if image.shape[0] <= _HEIGHT:
        return image.copy()
    width = max(1, round(image.shape[1] * _HEIGHT / image.shape[0]))
    small = PIL.Image.fromarray(image).resize((width, _HEIGHT), PIL.Image.Resampling.LANCZOS)
    return np.asarray(small)


def _tile_size(rows: Sequence[Sequence[Image]]) -> tuple[int, int]:
    """Width and height that hold every frame."""
    shapes = [frame.shape[:2] for row in rows for frame in row]
    height = min(_HEIGHT, max([_LEAST_HEIGHT, *(h for h, _ in shapes)]))
    widths = [round(w * height / h) for h, w in shapes]
    return max(widths, default=_LEAST_HEIGHT), height


def _write_label(drawing: PIL.ImageDraw.ImageDraw, cell: Cell, top: int, height: int) -> None:
    """The cell's values, its time and memory, or the reason why it has no clip."""
    y = top + 4
    for line in _wrapped(drawing, cell.title.replace(", ", "\n"), 16)[:_MOST_LINES]:
        drawing.text((_MARGIN, y), line, _INK, font=_font(16))
        y += 21
    if cell.error:
        facts, colour = cell.error, _BAD
    else:
        parts = [clock_text(cell.seconds) if cell.seconds is not None else ""]
        parts += [f"{cell.memory / 2**30:.2f} GiB" if cell.memory else ""]
        facts, colour = ", ".join(part for part in parts if part), _SOFT
    room = max(1, (top + height - y - 6) // 17)
    lines = _wrapped(drawing, facts, 13)
    if len(lines) > room:
        lines = [*lines[: room - 1], "..."]
    for line in lines:
        drawing.text((_MARGIN, y + 4), line, colour, font=_font(13))
        y += 17


def _wrapped(drawing: PIL.ImageDraw.ImageDraw, text: str, size: int) -> list[str]:
    """Lines that fit beside the frames; a word that is longer is cut."""
    font, lines = _font(size), []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if line and drawing.textlength(longer, font=font) > _LABEL - 16:
                lines.append(line)
                longer = word
            while drawing.textlength(longer, font=font) > _LABEL - 16:
                longer = longer[:-2].rstrip("…") + "…"
            line = longer
        lines.append(line)
    return lines


def _font(size: int) -> PIL.ImageFont.ImageFont | PIL.ImageFont.FreeTypeFont:
    return PIL.ImageFont.load_default(size)
