"""The person of each frame as a mask, for compositing: 1 where the person is, 0 elsewhere.

The skeleton says where the person surely is and surely is not; the colours decide between, by
GrabCut (Rother et al. 2004, OpenCV's). Where a frame looks like the reference's background the
person is not expected, but where the reference's own person stood nothing is known of that.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from animate.finish.body import Field, blurred, distance
from animate.media.info import Image

_INSIDE, _LIKELY, _OUTSIDE = 0.3, 0.6, 1.8
"""Units around a skeleton that are the person's for sure, are likely so, and are not from."""
_KNOWN = 1.5
"""Units from the reference's person from which its background is known."""
_LIKE_BACKGROUND = 6.0
"""Levels above the usual difference up to which a pixel looks like the background."""
_WORKED = 384
"""Longer side in pixels that colours are looked at with; edges are as fine as this."""
_ROUNDS = 3
_SOFT = 0.06
"""Deviation of the mask's smoothing, in units."""
_KEPT = 0.3
"""Share of the last frame's mask where it was larger, so that edges do not flicker."""
_SEED = 0
"""GrabCut draws random numbers; the same frame has the same mask."""


class Matte:
    """Masks of frames that come in order."""

    def __init__(self, picture: Image, skeleton: Image, unit: float) -> None:
        """`picture` (H,W,3) and `skeleton` of its person have the frames' size; `unit` in pixels,
        0 where nobody is drawn at all."""
        height, width = picture.shape[:2]
        scale = min(1.0, _WORKED / max(height, width))
        self._size = max(1, round(width * scale)), max(1, round(height * scale))
        self._unit = unit * scale
        self._picture = self._small(picture)
        self._known = distance(self._small(skeleton), self._unit) > _KNOWN
        self._last: Field | None = None

    def __call__(self, frame: Image, skeleton: Image, *, cut: bool = False) -> Image:
        """(H,W) uint8, 255 on the person of a frame; `cut` forgets what was before."""
        height, width = frame.shape[:2]
        away = distance(self._small(skeleton), self._unit)
        if self._unit <= 0 or away.min() > _INSIDE:
            self._last = None
            return np.zeros((height, width), np.uint8)
        person = self._person(self._small(frame), away).astype(np.float32)
        mask = np.asarray(blurred(person, _SOFT * self._unit), np.float32)
        if self._last is not None and not cut:
            near = away < 2 * _LIKELY  # elsewhere somebody moved away
            mask = np.where(near, np.maximum(mask, _KEPT * self._last + (1 - _KEPT) * mask), mask)
        self._last = mask
        large = cv2.resize(mask, (width, height), interpolation=cv2.INTER_CUBIC)
        return np.asarray((255 * large + 0.5).clip(0, 255), np.uint8)

    def _small(self, picture: Image) -> Image:
        return np.asarray(cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA), np.uint8)

    def _person(self, frame: Image, away: Field) -> NDArray[np.bool_]:
        """(h,w): True on the person."""
        trimap = np.full(away.shape, cv2.GC_PR_BGD, np.uint8)
        trimap[(away < _LIKELY) | (self._differs(frame, away) & (away < _OUTSIDE))] = cv2.GC_PR_FGD
        trimap[away < _INSIDE] = cv2.GC_FGD
        trimap[away > _OUTSIDE] = cv2.GC_BGD
        if (trimap != cv2.GC_BGD).all():
            return np.asarray(trimap != cv2.GC_PR_BGD)
        cv2.setRNGSeed(_SEED)
        frame_box = 0, 0, *self._size  # not looked at with a mask
        first, second = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(frame, trimap, frame_box, first, second, _ROUNDS, cv2.GC_INIT_WITH_MASK)
        return np.asarray((trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD))

    def _differs(self, frame: Image, away: Field) -> NDArray[np.bool_]:
        """(h,w): True where the frame does not look like the background that is known there."""
        difference = np.abs(frame.astype(np.float32) - self._picture).max(-1)
        background = (away > _OUTSIDE) & self._known
        usual = float(np.median(difference[background])) if background.any() else 0.0
        return np.asarray(self._known & (difference > usual + _LIKE_BACKGROUND))
