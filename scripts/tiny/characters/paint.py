"""Brushes: anti-aliased shapes and cloth on an RGB picture and, with them, the figure's mask."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
from numpy.typing import NDArray

from scripts.tiny.characters.textures import SWATCH, Colour, Picture, mean_colour

Place = NDArray[np.float64]

# Sixteenths of a pixel: OpenCV's fixed point for outlines.
_SHIFT = 4
_ROUND = np.pi * np.arange(9) / 8


def capsule(first: Place, last: Place, first_radius: float, last_radius: float) -> Place:
    """Outline (18,2) of a limb with round ends."""
    along = last - first
    length = float(np.hypot(*along))
    angle = np.arctan2(along[1], along[0]) if length > 1e-6 else 0.0
    start = angle + np.pi / 2 + _ROUND
    stop = angle - np.pi / 2 + _ROUND
    return np.concatenate(
        [
            first + first_radius * np.stack([np.cos(start), np.sin(start)], 1),
            last + last_radius * np.stack([np.cos(stop), np.sin(stop)], 1),
        ]
    )


def oval(centre: Place, across: Place, along: Place, count: int = 24) -> Place:
    """Outline of an ellipse with the half axes `across` and `along`."""
    turn = 2 * np.pi * np.arange(count) / count
    return centre + np.cos(turn)[:, None] * across + np.sin(turn)[:, None] * along


class Painter:
    """A picture (h,w,3) that is painted on from far to near, and the mask (h,w) of what was."""

    def __init__(self, background: Picture) -> None:
        self.picture = background.copy()
        self.mask = np.zeros(background.shape[:2], np.uint8)

    def fill(self, outline: Place, tint: Colour) -> None:
        """One colour inside a closed outline (n,2) in pixels."""
        fixed = np.round(outline * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(self.picture, [fixed], tint, cv2.LINE_AA, _SHIFT)
        cv2.fillPoly(self.mask, [fixed], 255, cv2.LINE_AA, _SHIFT)

    def line(self, points: Place, width: float, tint: Colour) -> None:
        """A thick line through points; thinner than a pixel fades instead of vanishing."""
        for first, last in itertools.pairwise(points):
            self.fill(capsule(first, last, width / 2, width / 2), tint)

    def drape(
        self, outline: Place, swatch: Picture, origin: Place, across: Place, along: Place
    ) -> None:
        """Cloth inside an outline. The swatch's top middle lies at `origin`; `across` reaches to
        its right edge and `along` to its bottom; beyond them it repeats mirrored."""
        height, width = self.picture.shape[:2]
        low = np.floor(outline.min(0)).astype(int) - 1
        high = np.ceil(outline.max(0)).astype(int) + 2
        x0, y0 = (int(v) for v in np.maximum(low, 0))
        x1, y1 = (int(v) for v in np.minimum(high, (width, height)))
        if x1 <= x0 or y1 <= y0:
            return
        half = SWATCH / 2
        matrix = np.stack([across / half, along / SWATCH, origin - across - (x0, y0)], 1)
        if abs(np.linalg.det(matrix[:, :2])) < 1e-6:
            self.fill(outline, mean_colour(swatch))
            return
        cloth = cv2.warpAffine(
            swatch, matrix, (int(x1 - x0), int(y1 - y0)), flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )  # fmt: skip
        fixed = np.round((outline - (x0, y0)) * (1 << _SHIFT)).astype(np.int32)
        cover = np.zeros(cloth.shape[:2], np.uint8)
        cv2.fillPoly(cover, [fixed], 255, cv2.LINE_AA, _SHIFT)
        area = self.picture[y0:y1, x0:x1]
        amount = cover[..., None].astype(np.uint16)
        area[:] = ((cloth * amount + area * (255 - amount) + 127) // 255).astype(np.uint8)
        np.maximum(self.mask[y0:y1, x0:x1], cover, out=self.mask[y0:y1, x0:x1])

    def limb(
        self, first: Place, last: Place, first_radius: float, last_radius: float, swatch: Picture
    ) -> None:
        """A tapered limb covered with cloth or skin that runs along it."""
        along = last - first
        length = max(float(np.hypot(*along)), 1e-3)
        across = np.array([-along[1], along[0]]) / length * max(first_radius, last_radius)
        if np.hypot(*across) < 0.3 or length < 0.5:
            self.fill(capsule(first, last, first_radius, last_radius), mean_colour(swatch))
            return
        # Cloth does not shrink when a limb points at the camera.
        self.drape(
            capsule(first, last, first_radius, last_radius), swatch, first, -across,
            along / length * max(length, 2 * first_radius),
        )  # fmt: skip
