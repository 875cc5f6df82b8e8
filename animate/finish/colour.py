"""Colours that stay the reference's over a long clip.

Windows are denoised in parallel and fused, so tints do not run away, but they waver. Each frame is
compared with the reference where both show the same: the background outside of both figures, and
the inside of the figures. Mean colours are compared in CIE Lab, for the background its contrast
as well (of smoothed pictures: softness is no tint). What differs is taken back, smoothed over time
so that nothing flickers.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from animate.finish.body import Field, blurred, distance, fading
from animate.media.info import Image

_INSIDE = 0.45
"""Units from a skeleton within which a pixel is surely the figure's."""
_OUTSIDE = 2.5
"""Units from which it is surely background."""
_BORDER = (0.6, 1.8)
"""Units between which the correction goes over from the figure's to the background's."""
_LEAST_AREA = 0.01
"""Share of the picture below which an area tells too little."""
_FARTHEST = 25.0
"""Largest shift in Lab units; more is no tint but another picture."""
_CONTRAST = (0.8, 1.25)
"""Least and largest factor of the background's contrast."""


@dataclass(frozen=True, kw_only=True)
class _Tone:
    """Mean (3,) and deviation (3,) of Lab colours, and the pixels they are of."""

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    area: int


class AnchoredColour:
    """Brings frames, in order, to the reference's colours."""

    def __init__(self, picture: Image, skeleton: Image, unit: float, *, memory: int) -> None:
        """`memory` is the number of frames over which corrections are smoothed, such as a window.

        `picture` (H,W,3) and `skeleton` of its person have the clip's size; `unit` in pixels.
        """
        self._lab = _lab(picture)
        self._soft = blurred(self._lab, unit / 2)
        self._unit, self._memory = unit, memory
        self._reference = distance(skeleton, unit)
        self._figure = _tone(self._lab, self._reference < _INSIDE)
        self._shift: dict[str, NDArray[np.float64]] = {}
        self._gain = np.ones(3)
        self._seen = 0

    def __call__(self, frame: Image, skeleton: Image) -> Image:
        """The frame (H,W,3) uint8 in the reference's colours."""
        lab = _lab(frame)
        away = distance(skeleton, self._unit)
        self._learn(lab, away)
        figure = fading(away, *_BORDER)[..., None]
        outside = self._shift.get("background", self._shift.get("figure"))
        inside = self._shift.get("figure", outside)
        if outside is None or inside is None:
            return frame
        centre = self._centre
        background = (lab - centre) * self._gain + centre + outside
        return _rgb(np.asarray(figure * (lab + inside) + (1 - figure) * background, np.float32))

    def _learn(self, lab: Field, away: Field) -> None:
        """Take the frame's differences into the running means."""
        self._seen += 1
        newest = 1 / min(self._seen, self._memory)
        background = np.minimum(away, self._reference) > _OUTSIDE
        frame_tone, target = _tone(lab, background), _tone(self._lab, background)
        figure = _tone(lab, away < _INSIDE)
        least = _LEAST_AREA * away.size
        self._centre = frame_tone.mean
        if frame_tone.area > least:
            self._mix("background", target.mean - frame_tone.mean, newest)
            soft = _tone(blurred(lab, self._unit / 2), background).spread
            contrast = _tone(self._soft, background).spread
            gain = (contrast / np.maximum(soft, 1.0)).clip(*_CONTRAST)
            self._gain = (1 - newest) * self._gain + newest * gain
        if min(figure.area, self._figure.area) > least:
            self._mix("figure", self._figure.mean - figure.mean, newest)

    def _mix(self, name: str, shift: NDArray[np.float64], newest: float) -> None:
        size = float(np.linalg.norm(shift))
        bounded = shift * min(1.0, _FARTHEST / max(size, 1e-9))
        mean = self._shift.get(name, bounded)
        self._shift[name] = (1 - newest) * mean + newest * bounded


def _tone(lab: Field, where: NDArray[np.bool_]) -> _Tone:
    pixels = lab[where]
    if not len(pixels):
        return _Tone(mean=np.zeros(3), spread=np.ones(3), area=0)
    return _Tone(
        mean=pixels.mean(0, np.float64), spread=pixels.std(0, np.float64), area=len(pixels)
    )


def _lab(picture: Image) -> Field:
    """(h,w,3) CIE Lab: L in [0,100], a and b about [-127,127]."""
    return np.asarray(cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)


def _rgb(lab: Field) -> Image:
    rgb = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return (rgb * 255 + 0.5).clip(0, 255).astype(np.uint8)
