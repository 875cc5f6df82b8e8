"""Bringing a picture, and the poses that lie on it, to the size of the clip.

One placement serves both, so a skeleton can never slide off its person. Sizes are (width, height)
in pixels; points are continuous pixel coordinates with (0, 0) at the picture's corner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from animate.request.request import Fit
from animate.request.values import Fill, Size

_AROUND = 0.04
_ABOVE = 0.08
"""Parts of a person's height by which body and hair reach beyond the points of a pose."""
_BLUR = 0.05
"""Deviation of blurred surroundings, as a part of the canvas's short side."""
EDGE = Fill("edge")


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The way a source picture lies on a canvas: scaled, then shifted by whole pixels.

    Attributes:
        source: size of the picture.
        scaled: size it is resampled to.
        offset: (x, y) of its corner on the canvas; negative where it is cropped.
        canvas: size of the result.
        fill: what lies where the picture does not reach.
    """

    source: Size
    scaled: Size
    offset: tuple[int, int]
    canvas: Size
    fill: Fill = EDGE

    def picture(self, image: np.ndarray) -> np.ndarray:
        """(H,W,3) uint8 of the source's size -> (h,w,3) uint8 of the canvas's.

        Borders that the picture does not reach are filled as `fill` says: with its edge repeated,
        with itself large and blurred, or with a colour.
        """
        shrinks = self.scaled.width < self.source.width or self.scaled.height < self.source.height
        method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        scaled = cv2.resize(image, tuple(self.scaled), interpolation=method)
        x, y = self.offset
        right = self.canvas.width - x - self.scaled.width
        bottom = self.canvas.height - y - self.scaled.height
        rows, columns = (max(0, y), max(0, bottom)), (max(0, x), max(0, right))
        left, top = max(0, -x), max(0, -y)
        if self.fill != EDGE and max(*rows, *columns) > 0:
            page = self._surroundings(image)
            inner = scaled[top : top + self.canvas.height, left : left + self.canvas.width]
            page[max(0, y) :, max(0, x) :][: inner.shape[0], : inner.shape[1]] = inner
            return page
        scaled = np.pad(scaled, (rows, columns, (0, 0)), mode="edge")
        cut = scaled[top : top + self.canvas.height, left : left + self.canvas.width]
        return np.ascontiguousarray(cut)

    def _surroundings(self, image: np.ndarray) -> np.ndarray:
        """(h,w,3) of the canvas's size without the picture itself."""
        width, height = self.canvas
        if self.fill != "blur":
            page = np.empty((height, width, 3), np.uint8)
            page[:] = self.fill.colour()
            return page
        covering = place_picture(self.source, self.canvas, "crop")
        deviation = _BLUR * min(width, height)
        large = covering.picture(image)
        blurred = cv2.GaussianBlur(large, (0, 0), deviation, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(blurred, np.uint8)

    def points(self, points: np.ndarray) -> np.ndarray:
        """(...,2) x,y on the source -> (...,2) float32 x,y on the canvas."""
        scale = np.array(self.scaled, np.float64) / np.array(self.source, np.float64)
        return (points * scale + np.array(self.offset)).astype(np.float32)

    def enlarged(self, further: Placement) -> Placement:
        """The same picture's way onto a larger canvas, on which this one's canvas is laid."""
        across = further.scaled.width / further.source.width
        down = further.scaled.height / further.source.height
        return Placement(
            source=self.source,
            scaled=Size(round(self.scaled.width * across), round(self.scaled.height * down)),
            offset=(
                round(self.offset[0] * across + further.offset[0]),
                round(self.offset[1] * down + further.offset[1]),
            ),
            canvas=further.canvas,
            fill=self.fill,
        )


class Box(NamedTuple):
    """A part of a picture, in pixels from its corner."""

    left: float
    top: float
    right: float
    bottom: float


def place_picture(
    source: Size, canvas: Size, fit: Fit, person: Box | None = None, fill: Fill = EDGE
) -> Placement:
    """Centre a picture on a canvas: `crop` fills it, `pad` shows all, `stretch` does both.

    A crop leaves the middle as far as it must to keep `person`, given on the source, inside; of
    somebody larger than the canvas the head stays, and as much left as right.
    """
    if fit == "stretch":
        return Placement(source=source, scaled=canvas, offset=(0, 0), canvas=canvas)
    ratios = (canvas.width / source.width, canvas.height / source.height)
    scale = max(ratios) if fit == "crop" else min(ratios)
    scaled = Size(max(1, round(source.width * scale)), max(1, round(source.height * scale)))
    x, y = (canvas.width - scaled.width) // 2, (canvas.height - scaled.height) // 2
    if fit == "crop" and person is not None:
        across, down = scaled.width / source.width, scaled.height / source.height
        left, right = person.left * across, person.right * across
        top, bottom = person.top * down, person.bottom * down
        if right - left > canvas.width:
            left = right = (left + right) / 2
            x = round(canvas.width / 2 - left)
        x = _offset_within(x, left, right, canvas.width, scaled.width)
        y = _offset_within(y, top, min(bottom, top + canvas.height), canvas.height, scaled.height)
    return Placement(source=source, scaled=scaled, offset=(x, y), canvas=canvas, fill=fill)


def _offset_within(offset: int, first: float, last: float, room: int, length: int) -> int:
    """The nearest offset at which `first` to `last` of a side lie within the room."""
    if last + offset > room:
        offset = math.floor(room - last)
    if first + offset < 0:
        offset = math.ceil(-first)
    return min(0, max(room - length, offset))


def person_box(points: np.ndarray, scores: np.ndarray, source: Size, seen: float) -> Box | None:
    """Around the seen points (N,2) of a person, hair and clothes included; None if nobody is.

    Pixels of the source, within it. Scores (N,) below `seen` do not count.
    """
    seen_points = points[scores >= seen]
    if len(seen_points) == 0:
        return None
    (left, top), (right, bottom) = seen_points.min(0), seen_points.max(0)
    around, above = _AROUND * (bottom - top), _ABOVE * (bottom - top)
    return Box(
        max(0.0, float(left - around)),
        max(0.0, float(top - above)),
        min(float(source.width), float(right + around)),
        min(float(source.height), float(bottom + around)),
    )


def native_size(source: Size, short_side: int, multiple: int) -> Size:
    """The size nearest to a picture's shape with a given short side, both sides multiples.

    `short_side` and `multiple` come from the model variant, in pixels.
    """
    longest = short_side * max(source) / min(source)
    long_side = max(multiple, round(longest / multiple) * multiple)
    short = max(multiple, round(short_side / multiple) * multiple)
    return Size(short, long_side) if source.height >= source.width else Size(long_side, short)
