"""The person of each frame as a mask, for compositing: 1 where the person is, 0 elsewhere.

Each pixel near the skeleton is compared with the background there and with the person's colours
there, and the nearer one wins. The background is the reference's where its person does not stand,
in the generated frame's tint, and elsewhere carried on from around; the person's colours are
carried outwards from the skeleton. So gaps between limbs are seen at any size. The edge then
follows the frame's own, by a guided filter (He et al. 2010).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from animate.finish.body import Field, blurred, distance
from animate.finish.fill import filled
from animate.media.info import Image

_BONE, _CORE, _LIMB, _OUTSIDE = 0.12, 0.25, 0.5, 2.2
"""Units around a skeleton that are the person's for sure, whose colours are the person's, up to
which the person is expected rather than the background, and from which the person is not."""
_EXPECTED, _UNEXPECTED = 2.0, -2.4
"""Evidence of the distance alone, on a bone and far from it."""
_KNOWN_NOISE, _GUESSED_NOISE = (6.0, 60.0), (10.0, 25.0)
"""Least and most levels that the background may differ by where it is known and where it is not."""
_PERSON_NOISE = 25.0
_MOST_UNLIKE_BACKGROUND, _MOST_UNLIKE_PERSON = 6.0, 3.0
"""Evidence of the colours, at most."""
_THRESHOLD, _STEEPNESS = 2.2, 1.5
_ATTACHED = 0.25
"""Share from which pixels hang together; what hangs on no bone is not the person's."""
_LIKE_BACKGROUND = 16.0
"""Levels up to which the reference near its person still is its background."""
_WORKED = 384
"""Longer side in pixels that colours are looked at with."""
_EDGE, _EDGE_CONTRAST = 0.2, 5e-4
"""Units over which the edge follows the frame's, and the variance of colours that counts as one."""
_CLEAR, _OPAQUE = 0.25, 0.95
"""Shares below and above which a pixel is wholly background and wholly person."""
_FEET = 0.4
"""Units above the skeleton's lowest row from which down what is darker may be a shadow."""
_SHADE = 0.5
"""Part of the background's light that a shadow leaves at least."""
_SAME = 6.0
"""Levels up to which a pixel is the last frame's; its share then flickers less."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Look:
    """A frame's pixels, at the size of the computation."""

    frame: Field
    """(h,w,3)."""
    share: Field
    """(h,w): likelihood of the person."""
    away: Field
    """(h,w): units from the skeleton."""


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
        self._known = np.ones(self._picture.shape[:2], bool)
        self._last: _Look | None = None
        if unit > 0:
            self._known = self._background_of_reference(
                distance(self._small(skeleton), unit * scale)
            )

    def __call__(self, frame: Image, skeleton: Image, *, cut: bool = False) -> Image:
        """(H,W) uint8, 255 on the person of a frame; `cut` forgets what was before."""
        away = distance(self._small(skeleton), self._unit)
        if self._unit <= 0 or away.min() > _CORE:
            self._last = None
            return np.zeros(frame.shape[:2], np.uint8)
        look = self._look(self._small(frame), away, self._known)
        if self._last is not None and not cut:
            same = np.abs(look.frame - self._last.frame).max(-1) < _SAME
            calmed = np.where(same, (look.share + self._last.share) / 2, look.share)
            look = _Look(frame=look.frame, share=calmed, away=away)
        self._last = look
        return np.asarray((255 * self._edged(look, frame) + 0.5).clip(0, 255), np.uint8)

    def _small(self, picture: Image) -> Field:
        small = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.float32)

    def _background_of_reference(self, away: Field) -> NDArray[np.bool_]:
        """(h,w): True where the reference shows its background."""
        nothing = np.zeros(away.shape, bool)
        if away.min() > _CORE:
            return ~nothing
        share = self._look(self._picture, away, nothing).share
        behind = filled(self._picture, away > _OUTSIDE)
        unlike = np.abs(self._picture - behind).max(-1) >= _LIKE_BACKGROUND
        person = (share > 0.05) | (unlike & (away <= _OUTSIDE))
        reach = 2 * max(1, round(0.15 * self._unit)) + 3
        return cv2.dilate(person.astype(np.uint8), np.ones((reach, reach), np.uint8)) == 0

    def _look(self, frame: Field, away: Field, known: NDArray[np.bool_]) -> _Look:
        """The person's likelihood by distance and colours; `known` is where the reference shows its
        background."""
        outside = away > _OUTSIDE
        behind, noise = self._behind(frame, outside, known)
        person = filled(frame, away < _CORE)
        lit = self._shaded(frame, behind, away)
        unlike_background = np.linalg.norm(frame - lit, axis=-1) / noise
        unlike_person = np.linalg.norm(frame - person, axis=-1) / _PERSON_NOISE
        evidence = (
            np.minimum(unlike_background, _MOST_UNLIKE_BACKGROUND)
            - np.minimum(unlike_person, _MOST_UNLIKE_PERSON)
            + (_EXPECTED * (1 - away / _LIMB)).clip(_UNEXPECTED, _EXPECTED)
            - _THRESHOLD
        )
        share = (1 / (1 + np.exp(-_STEEPNESS * evidence))).astype(np.float32)
        share[outside] = 0
        share[away < _BONE] = 1
        return _Look(frame=frame, share=_attached(share, away < _CORE), away=away)

    def _behind(
        self, frame: Field, outside: NDArray[np.bool_], known: NDArray[np.bool_]
    ) -> tuple[Field, Field]:
        """(h,w,3): the background everywhere; (h,w): levels by which a frame may differ from it."""
        weight = np.maximum(blurred(outside.astype(np.float32), self._unit), 1e-3)[..., None]
        smooth = blurred(frame * outside[..., None], self._unit) / weight
        noise = 2 * filled(np.abs(frame - smooth), outside).max(-1).clip(*_GUESSED_NOISE)
        sure = outside & known
        picture = self._picture
        if sure.any():
            picture = picture + blurred(filled(frame - picture, sure), self._unit)
            differs = blurred(filled(np.abs(frame - picture), sure), self._unit / 2).max(-1)
            noise = np.where(known, (1.5 * differs).clip(*_KNOWN_NOISE), noise)
        behind = filled(np.where(outside[..., None], frame, picture), known | outside)
        return behind, blurred(noise, 0.2 * self._unit)

    def _shaded(self, frame: Field, behind: Field, away: Field) -> Field:
        """(h,w,3): the background, around the feet in the shadow that the frame has there."""
        feet = float(np.nonzero((away == 0).any(axis=1))[0].max()) - _FEET * self._unit
        light = (frame * behind).sum(-1) / np.maximum((behind * behind).sum(-1), 1.0)
        light[: max(0, round(feet))] = 1
        return behind * light.clip(_SHADE, 1)[..., None]

    def _edged(self, look: _Look, frame: Image) -> Field:
        """(H,W): the share with the frame's own edges, at the frame's size."""
        height, width = frame.shape[:2]
        guide = np.asarray(look.frame / 255, np.float32)
        slopes, offsets = _guided(guide, look.share, max(1, round(_EDGE * self._unit)))
        slope, offset, away = (
            cv2.resize(part, (width, height)) for part in (slopes, offsets, look.away)
        )
        share = (slope * (frame.astype(np.float32) / 255)).sum(-1) + offset
        share = ((share - _CLEAR) / (_OPAQUE - _CLEAR)).clip(0, 1)
        inside = np.where(away < _BONE, 1, share)
        return np.asarray(np.where(away > _OUTSIDE, 0, inside), np.float32)


def _attached(share: Field, core: NDArray[np.bool_]) -> Field:
    """The share without what hangs on no bone."""
    _, labels = cv2.connectedComponents((share > _ATTACHED).astype(np.uint8))
    touching = np.unique(labels[core])
    figure = np.isin(labels, touching[touching > 0]).astype(np.uint8)
    return np.where(cv2.dilate(figure, np.ones((3, 3), np.uint8)) > 0, share, np.float32(0))


def _guided(guide: Field, share: Field, radius: int) -> tuple[Field, Field]:
    """(h,w,3), (h,w): the share as a linear function of the guide's colours around each pixel."""

    def mean(field: NDArray) -> Field:
        side = 2 * radius + 1
        average = cv2.blur(field, (side, side), borderType=cv2.BORDER_REFLECT_101)
        return np.asarray(average, np.float32)

    colours, level = mean(guide), mean(share)
    together = mean(guide * share[..., None]) - colours * level[..., None]
    squares = np.stack([mean(guide * guide[..., channel, None]) for channel in range(3)], axis=-1)
    spread = squares - colours[..., :, None] * colours[..., None, :]
    spread += _EDGE_CONTRAST * np.eye(3, dtype=np.float32)
    slope = np.linalg.solve(spread, together[..., None])[..., 0]
    return mean(slope), mean(level - (slope * colours).sum(-1))
