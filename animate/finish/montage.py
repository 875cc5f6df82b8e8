"""Pictures of pictures: reference, pose and result side by side, and a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from animate.driving.placement import place_picture
from animate.errors import RequestError
from animate.files import is_sequence
from animate.media import FrameSelection, FrameSource, write_png
from animate.media.info import Image
from animate.request.values import Fill, Size

_TILES = 24
"""Frames of a contact sheet at most; so many reduced frames are held in memory."""
_COLUMNS = 6
_TILE_WIDTH = 192
_LABEL = 18
"""Pixels of height below each tile for its number and time."""
_PAPER = (24, 24, 28)
_INK = (225, 225, 225)
_LEAST_WIDTH = 96
"""Pixels below which a label would not be read; smaller frames are enlarged."""


def side_by_side(pictures: Sequence[Image]) -> Image:
    """(H,W,3) pictures of one size in a row: (H,NW,3)."""
    return np.concatenate(pictures, axis=1)


def mask_picture(frame: Image) -> Image:
    """(H,W,3): the fourth channel of a frame (H,W,4) in grey."""
    return np.ascontiguousarray(np.repeat(frame[..., 3:], 3, axis=2))


def driving_panels(source: FrameSource, selection: FrameSelection, size: Size) -> Iterator[Image]:
    """The selected frames of the driving video, each whole on black at the clip's size.

    The last one is repeated where there are more frames of the clip.
    """
    source_size = Size(*source.info.size)
    placement = place_picture(source_size, size, "pad", fill=Fill("black"))
    picture = np.zeros((size.height, size.width, 3), np.uint8)
    for frame in source.read(selection):
        picture = placement.picture(frame.image)
        yield picture
    while True:
        yield picture


def check_sheet_name(path: Path, role: str = "contact sheet") -> None:
    """Raise RequestError for a contact sheet, or another picture, that is no PNG file."""
    if path.suffix.lower() != ".png" or is_sequence(path):
        raise RequestError(f"{role} {path} must be named .png")


class ContactSheet:
    """Evenly chosen frames of a clip with their numbers and times, collected as they come."""

    def __init__(self, frames: int, fps: Fraction, reference: Image) -> None:
        """`frames` of the clip at `fps`; the reference (H,W,3) takes the first place."""
        self._fps = fps
        count = min(frames, _TILES - 1)
        self._chosen = set(np.linspace(0, frames - 1, count).round().astype(int).tolist())
        width = min(_TILE_WIDTH, max(_LEAST_WIDTH, reference.shape[1]))
        self._size = (width, max(1, round(width * reference.shape[0] / reference.shape[1])))
        self._tiles = [self._tile(reference, "reference")]

    def add(self, number: int, frame: Image) -> None:
        """Take frame `number` of the clip if it is one of the chosen."""
        if number in self._chosen:
            self._tiles.append(self._tile(frame, f"{number}  {float(number / self._fps):.2f} s"))

    def write(self, path: Path) -> None:
        """Put the sheet at `path`. Raises MediaError if it cannot be written."""
        write_png(path, self.picture())

    def picture(self) -> Image:
        """(H,W,3) uint8: the tiles in rows."""
        columns = min(_COLUMNS, len(self._tiles))
        rows = -(-len(self._tiles) // columns)
        empty = np.full_like(self._tiles[0], _PAPER)
        tiles = [*self._tiles, *[empty] * (rows * columns - len(self._tiles))]
        lines = [tiles[row * columns : (row + 1) * columns] for row in range(rows)]
        return np.concatenate([np.concatenate(line, axis=1) for line in lines])

    def _tile(self, picture: Image, label: str) -> Image:
        shrinks = picture.shape[1] > self._size[0]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        tile = cv2.resize(picture, self._size, interpolation=method)
        strip = np.full((_LABEL, self._size[0], 3), _PAPER, np.uint8)
        cv2.putText(strip, label, (3, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.36, _INK, 1, cv2.LINE_AA)
        framed = np.concatenate([tile, strip])
        return np.pad(framed, ((0, 4), (0, 4), (0, 0)), constant_values=_PAPER[0])
