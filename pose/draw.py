"""Skeleton pictures: what the control network sees of a pose.

`published` is the style that the published ControlNeXt-SVD weights were trained on: thin limbs,
shaded by confidence, drawn on a canvas whose short side is 2160 pixels and reduced without
smoothing; red and blue are swapped. `published-rgb`, of StableAnimator, is the same with red and
blue as they are. `canonical` is the style of ControlNet's OpenPose annotators:
full colours, nothing drawn below the threshold. `small` is for pictures of about 100 pixels, which
the bundled model makes: limbs a few pixels wide there, anti-aliased, shaded by confidence.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pose.errors import PoseError
from pose.layout import BODY, FACE, HAND_EDGES, HANDS, LIMBS, POINTS, SEEN

Image = NDArray[np.uint8]


class _Strength(NamedTuple):
    """Strength of the parts of a skeleton, in [0,1]."""

    body: float = 1.0
    hands: float = 1.0
    face: float = 1.0


_FULL = _Strength()
_Colour = tuple[float, float, float]

# Eighteen hues around the wheel: OpenPose's body colours, RGB.
COLOURS: Final[tuple[_Colour, ...]] = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0),
    (0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255),
    (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
_HAND_COLOURS: Final[tuple[_Colour, ...]] = tuple(
    colorsys.hsv_to_rgb(i / len(HAND_EDGES), 1, 1) for i in range(len(HAND_EDGES))
)
_LIMB_DIMMING = 0.6
# OpenCV draws in 32-bit integers; a point this far out is drawn as if it were here.
_FARTHEST = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Style:
    """A way to draw skeletons. Sizes are pixels of a canvas whose short side is `short_side`."""

    short_side: int
    """Short side of the canvas that the sizes below are for."""
    enlarged: bool
    """Draw on a canvas of that very size and reduce it, or draw at the size asked for."""
    shaded: bool
    """Colours times scores, with every hand and face point; or full colours of seen points only."""
    swapped: bool
    """Red and blue change places."""
    limb: int = 4
    """Half the width of a limb's ellipse."""
    joint: int = 4
    """Radius of body and hand joints."""
    edge: int = 2
    """Width of a finger's bone."""
    dot: int = 3
    """Radius of a face point."""
    smooth: bool = False
    """Reduce the enlarged canvas by averaging."""


STYLES: Final = {
    "published": Style(short_side=2160, enlarged=True, shaded=True, swapped=True),
    "published-rgb": Style(short_side=2160, enlarged=True, shaded=True, swapped=False),
    "canonical": Style(short_side=512, enlarged=False, shaded=False, swapped=False),
    "small": Style(
        short_side=384,
        enlarged=True,
        shaded=True,
        swapped=False,
        limb=5,
        joint=5,
        edge=3,
        dot=2,
        smooth=True,
    ),
}


def draw(
    points: ArrayLike,
    scores: ArrayLike,
    canvas: tuple[int, int],
    size: tuple[int, int] | None = None,
    style: str = "published",
    strength: tuple[float, float, float] = _FULL,
) -> Image:
    """Draw the people of one frame on black: uint8 (height, width, 3), RGB.

    `points` (P,134,2) are in pixels of a `canvas` (width, height), `scores` (P,134) in [0,1];
    `size` is the (width, height) of the picture, the canvas's own if not given; `strength` of body,
    hands and face in [0,1] dims them, and 0 leaves them out. Nobody (P = 0 or
    all scores 0) gives a black picture. Raises `PoseError` for an unknown style, wrong shapes or
    values that are not finite.
    """
    width, height = canvas
    xy = np.asarray(points, dtype=np.float64)
    confidence = np.asarray(scores, dtype=np.float64)
    if xy.ndim != 3 or xy.shape[1:] != (POINTS, 2) or confidence.shape != xy.shape[:2]:
        raise PoseError(
            f"drawing needs points (people, {POINTS}, 2) and scores (people, {POINTS}), not "
            f"{xy.shape} and {confidence.shape}"
        )
    if width < 1 or height < 1:
        raise PoseError(f"the canvas must be at least 1x1 pixel, not {width}x{height}")
    parts = _Strength(*strength)
    return _draw(xy / (width, height), confidence, size or (width, height), style, parts)


def draw_parts(
    *,
    body: ArrayLike,
    body_scores: ArrayLike,
    face: ArrayLike,
    face_scores: ArrayLike,
    hands: ArrayLike,
    hand_scores: ArrayLike,
    size: tuple[int, int],
    style: str = "published",
) -> Image:
    """Draw one person given as parts, in double precision: uint8 (height, width, 3), RGB.

    `body` (18,2), `face` (68,2) and `hands` (2,21,2), left first, are in [0,1] of the picture,
    their scores (18,), (68,) and (2,21) in [0,1]; `size` is (width, height). Raises as `draw` does.
    """
    xy = np.zeros((1, POINTS, 2))
    confidence = np.zeros((1, POINTS))
    try:
        xy[0, BODY], confidence[0, BODY] = body, body_scores
        xy[0, FACE], confidence[0, FACE] = face, face_scores
        for hand, position, score in zip(
            HANDS, np.asarray(hands), np.asarray(hand_scores), strict=True
        ):
            xy[0, hand], confidence[0, hand] = position, score
    except ValueError as error:
        raise PoseError(
            f"drawing needs body (18,2), face (68,2), hands (2,21,2): {error}"
        ) from error
    return _draw(xy, confidence, size, style)


def _draw(
    xy: NDArray[np.float64],
    scores: NDArray[np.float64],
    size: tuple[int, int],
    style_name: str,
    strength: _Strength = _FULL,
) -> Image:
    """Draw points in [0,1] of the picture."""
    width, height = size
    if style_name not in STYLES:
        raise PoseError(f"unknown drawing style {style_name!r}; choose {' or '.join(STYLES)}")
    if width < 1 or height < 1:
        raise PoseError(f"a picture must be at least 1x1 pixel, not {width}x{height}")
    if not (np.isfinite(xy).all() and np.isfinite(scores).all()):
        raise PoseError("poses to draw hold values that are not finite; give absent points score 0")
    style = STYLES[style_name]
    scale = style.short_side / min(width, height)
    if not style.enlarged:
        pen = _Pen(np.zeros((height, width, 3), np.uint8), style, 1 / scale)
        _draw_people(pen, xy, scores, strength)
        return pen.image
    pen = _Pen(np.zeros((int(height * scale), int(width * scale), 3), np.uint8), style, 1)
    _draw_people(pen, xy, scores, strength)
    method = cv2.INTER_AREA if style.smooth else cv2.INTER_LINEAR
    reduced = cv2.resize(pen.image, (width, height), interpolation=method)
    return np.asarray(reduced, dtype=np.uint8)


class _Pen:
    """Draws into one picture at one scale, in whole pixels and whole colour levels."""

    def __init__(self, image: Image, style: Style, scale: float) -> None:
        self.image = image
        self.style = style
        self.swapped = style.swapped
        self.limb = max(1, round(style.limb * scale))
        self.joint = max(1, round(style.joint * scale))
        self.edge = max(1, round(style.edge * scale))
        self.dot = max(1, round(style.dot * scale))

    def pixels(self, xy: NDArray[np.float64]) -> list[list[int]]:
        """Whole pixels, towards zero as the published drawing cuts them, of points in [0,1]."""
        height, width = self.image.shape[:2]
        cut = np.clip(xy * (width, height), -_FARTHEST, _FARTHEST).astype(np.int64).tolist()
        return list(cut)

    def ellipse(self, a: NDArray[np.float64], b: NDArray[np.float64], colour: _Colour) -> None:
        """A limb between two points in [0,1]."""
        height, width = self.image.shape[:2]
        ends = np.clip(np.stack([a, b]) * (width, height), -_FARTHEST, _FARTHEST)
        middle_x, middle_y = ends.mean(axis=0).tolist()
        dx, dy = (ends[0] - ends[1]).tolist()
        outline = cv2.ellipse2Poly(
            (int(middle_x), int(middle_y)),
            (int(math.hypot(dx, dy) / 2), self.limb),
            int(math.degrees(math.atan2(dy, dx))),
            0,
            360,
            1,
        )
        cv2.fillConvexPoly(self.image, np.asarray(outline), self._levels(colour))

    def disc(self, centre: Sequence[int], radius: int, colour: _Colour) -> None:
        cv2.circle(self.image, (centre[0], centre[1]), radius, self._levels(colour), thickness=-1)

    def line(self, a: Sequence[int], b: Sequence[int], colour: _Colour) -> None:
        cv2.line(self.image, (a[0], a[1]), (b[0], b[1]), self._levels(colour), thickness=self.edge)

    def _levels(self, colour: _Colour) -> _Colour:
        return (colour[2], colour[1], colour[0]) if self.swapped else colour


def _draw_people(
    pen: _Pen, xy: NDArray[np.float64], scores: NDArray[np.float64], strength: _Strength
) -> None:
    if not pen.style.shaded:
        scores = (scores >= SEEN).astype(np.float64)
    if strength.body > 0:
        _draw_bodies(pen, xy, scores, strength.body)
    for hand in HANDS if strength.hands > 0 else ():
        for person, score in zip(xy, scores, strict=True):
            _draw_hand(pen, pen.pixels(person[hand]), score[hand].tolist(), strength.hands)
    if strength.face > 0:
        _draw_faces(pen, xy, scores * strength.face)


def _draw_bodies(
    pen: _Pen, xy: NDArray[np.float64], scores: NDArray[np.float64], strength: float
) -> None:
    for limb, colour in zip(LIMBS, COLOURS, strict=False):
        for person, score in zip(xy, scores, strict=True):
            _draw_limb(pen, limb, colour, person, score, strength)
    for joint, colour in enumerate(COLOURS):
        for person, score in zip(xy, scores, strict=True):
            if score[joint] > SEEN:
                (position,) = pen.pixels(person[joint : joint + 1])
                pen.disc(position, pen.joint, _times(colour, score[joint] * strength))


def _draw_faces(pen: _Pen, xy: NDArray[np.float64], scores: NDArray[np.float64]) -> None:
    for person, score in zip(xy, scores, strict=True):
        for position, level in zip(pen.pixels(person[FACE]), score[FACE].tolist(), strict=True):
            if level > 0 and min(position) > 0:
                pen.disc(position, pen.dot, _times((255, 255, 255), level))


def _draw_limb(
    pen: _Pen,
    limb: tuple[int, int],
    colour: _Colour,
    person: NDArray[np.float64],
    score: NDArray[np.float64],
    strength: float,
) -> None:
    a, b = limb
    if score[a] < SEEN or score[b] < SEEN:
        return
    # The published drawing dims the whole canvas after the limbs; dimming the colour, with the
    # same two roundings, gives the same picture for a thousandth of the work.
    red, green, blue = _times(colour, score[a] * score[b] * strength)
    dimmed = (int(red * _LIMB_DIMMING), int(green * _LIMB_DIMMING), int(blue * _LIMB_DIMMING))
    pen.ellipse(person[a], person[b], dimmed)


def _draw_hand(pen: _Pen, places: list[list[int]], scores: list[float], strength: float) -> None:
    """Points at or below 0, or with score 0, are absent: the published places of lost points."""
    here = [score > 0 and min(position) > 0 for position, score in zip(places, scores, strict=True)]
    for (a, b), (red, green, blue) in zip(HAND_EDGES, _HAND_COLOURS, strict=True):
        if here[a] and here[b]:
            level = int(scores[a] * scores[b] * strength * 255)
            pen.line(places[a], places[b], (red * level, green * level, blue * level))
    for position, score, there in zip(places, scores, here, strict=True):
        if there:
            pen.disc(position, pen.joint, (0, 0, int(score * strength * 255)))


def _times(colour: _Colour, score: float) -> _Colour:
    """A colour dimmed by a score, in whole levels."""
    return (int(colour[0] * score), int(colour[1] * score), int(colour[2] * score))
