"""Bringing a picture, and the poses that lie on it, to the size of the clip.

One placement serves both, so a skeleton can never slide off its person. Sizes are (width, height)
in pixels; points are continuous pixel coordinates with (0, 0) at the picture's corner.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from animate.options import Fit
from animate.values import Size


@dataclass(frozen=True, kw_only=True)
class Placement:
    """How a source picture lies on a canvas: scaled, then shifted by whole pixels.

    Attributes:
        source: size of the picture.
        scaled: size it is resampled to.
        offset: (x, y) of its corner on the canvas; negative where it is cropped.
        canvas: size of the result.
    """

    source: Size
    scaled: Size
    offset: tuple[int, int]
    canvas: Size

    def picture(self, image: np.ndarray) -> np.ndarray:
        """(H,W,3) uint8 of the source's size -> (h,w,3) uint8 of the canvas's.

        Borders that the picture does not reach repeat its edge.
        """
        shrinks = self.scaled.width < self.source.width or self.scaled.height < self.source.height
        method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        scaled = cv2.resize(image, tuple(self.scaled), interpolation=method)
        x, y = self.offset
        right = self.canvas.width - x - self.scaled.width
        bottom = self.canvas.height - y - self.scaled.height
        rows, columns = (max(0, y), max(0, bottom)), (max(0, x), max(0, right))
        scaled = np.pad(scaled, (rows, columns, (0, 0)), mode="edge")
        left, top = max(0, -x), max(0, -y)
        cut = scaled[top : top + self.canvas.height, left : left + self.canvas.width]
        return np.ascontiguousarray(cut)

    def points(self, points: np.ndarray) -> np.ndarray:
        """(...,2) x,y on the source -> (...,2) float32 x,y on the canvas."""
        scale = np.array(self.scaled, np.float64) / np.array(self.source, np.float64)
        return (points * scale + np.array(self.offset)).astype(np.float32)


def place(source: Size, canvas: Size, fit: Fit) -> Placement:
    """Centre a picture on a canvas: `crop` fills it, `pad` shows all, `stretch` does both."""
    if fit == "stretch":
        return Placement(source=source, scaled=canvas, offset=(0, 0), canvas=canvas)
    ratios = (canvas.width / source.width, canvas.height / source.height)
    scale = max(ratios) if fit == "crop" else min(ratios)
    scaled = Size(max(1, round(source.width * scale)), max(1, round(source.height * scale)))
    offset = ((canvas.width - scaled.width) // 2, (canvas.height - scaled.height) // 2)
    return Placement(source=source, scaled=scaled, offset=offset, canvas=canvas)


def native_size(source: Size, short_side: int, multiple: int) -> Size:
    """The size nearest to a picture's shape with a given short side, both sides multiples.

    `short_side` and `multiple` come from the model variant, in pixels.
    """
    longest = short_side * max(source) / min(source)
    long_side = max(multiple, round(longest / multiple) * multiple)
    short = max(multiple, round(short_side / multiple) * multiple)
    return Size(short, long_side) if source.height >= source.width else Size(long_side, short)
