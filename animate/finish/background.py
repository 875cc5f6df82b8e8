"""The reference's own background behind the moving person.

What the model makes of a background is softer than the picture, and wavers. Where neither the
reference's person stands nor the driven one moves, the picture is put back; how far a person
reaches is told by the skeletons, and near them by what really differs.
"""

from __future__ import annotations

import numpy as np

from animate.finish.body import Field, blurred, distance, fading
from animate.media.info import Image

_CORE = 0.75
"""Units around a skeleton that always stay as generated: limbs, head and trunk."""
_REACH = (1.4, 2.3)
"""Units between which what differs (a dress, loose hair) ceases to count as the person's."""
_SURE = 2.3
"""Units from which everything is background, to measure how much backgrounds differ anyway."""
_DIFFERENCE = (2.0, 12.0)
"""Levels above that at which a pixel begins to be the person's, and surely is."""
_SOFT = 0.25
"""Deviation of the mask's smoothing, in units."""
_LEVELLING = 0.7
"""Deviation, in units, of the smoothing that fits the generated rim to the picture's tint."""
_KEPT = 0.5
"""Share of the last frame's mask where it was larger: a mask opens at once and closes slowly."""


class LockedBackground:
    """Puts the reference's background into frames that come in order."""

    def __init__(self, picture: Image, skeleton: Image, unit: float) -> None:
        """`picture` (H,W,3) and `skeleton` of its person have the clip's size; `unit` in pixels."""
        self._picture = picture.astype(np.float32)
        self._unit = unit
        self._reference = distance(skeleton, unit)
        self._last: Field | None = None

    def __call__(self, frame: Image, skeleton: Image, *, cut: bool = False) -> Image:
        """The frame (H,W,3) uint8 with the background put back; `cut` forgets what was before."""
        pixels = frame.astype(np.float32)
        mask = self._mask(pixels, distance(skeleton, self._unit))
        if self._last is not None and not cut:
            mask = np.maximum(mask, _KEPT * self._last + (1 - _KEPT) * mask)
        self._last = mask
        person = mask[..., None]
        mixed = person * self._levelled(pixels, mask) + (1 - person) * self._picture
        return (mixed + 0.5).clip(0, 255).astype(np.uint8)

    def _mask(self, pixels: Field, moving: Field) -> Field:
        """(h,w): 1 where the generated frame stays, 0 where the picture is put back."""
        away = np.minimum(self._reference, moving)
        soft = _SOFT * self._unit
        difference = blurred(np.abs(pixels - self._picture).max(-1), soft)
        usual = float(np.median(difference[away > _SURE])) if (away > _SURE).any() else 0.0
        low, high = _DIFFERENCE
        differs = 1 - fading(difference, usual + low, usual + high)
        person = np.maximum(fading(away, _CORE, 1.6 * _CORE), differs * fading(away, *_REACH))
        return np.asarray(blurred(person, soft), np.float32)

    def _levelled(self, pixels: Field, mask: Field) -> Field:
        """The frame with its rim brought to the picture's tint, so that no border shows."""
        width = _LEVELLING * self._unit
        outside = 1 - mask
        near = blurred(outside, width)
        missing = blurred(outside[..., None] * (self._picture - pixels), width)
        share = np.minimum(1, 2 * near) / np.maximum(near, 1e-3)
        return np.asarray(pixels + share[..., None] * missing, np.float32)
