"""People in a picture: the colours of their clothes, and the picture without some of them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pose.layout import (
    BODY,
    LEFT_ELBOW,
    LEFT_HIP,
    LEFT_KNEE,
    LEFT_SHOULDER,
    LIMBS,
    RIGHT_ELBOW,
    RIGHT_HIP,
    RIGHT_KNEE,
    RIGHT_SHOULDER,
    SEEN,
)

# Levels of 255 by which the clothes of one person may look different from frame to frame; what they
# say is bounded, since whoever passes in front has other ones.
_COLOUR_SPREAD = 25.0
_MOST_COLOUR_COST = 1.0
# Share of a new look at the clothes in what is remembered of them.
_LEARNING = 0.1
# Parts of the clothes as rows of joints; each is looked at along the line between them.
CLOTHES = (
    ((RIGHT_SHOULDER, LEFT_HIP), (LEFT_SHOULDER, RIGHT_HIP)),
    ((RIGHT_SHOULDER, RIGHT_ELBOW), (LEFT_SHOULDER, LEFT_ELBOW)),
    ((RIGHT_HIP, RIGHT_KNEE), (LEFT_HIP, LEFT_KNEE)),
)
_ALONG = np.linspace(0.2, 0.8, 5)[:, None]

# Widths by which limbs are painted over, and those of the expected person left, as parts of the
# body's height.
_OTHERS, _EXPECTED = 0.09, 0.06
# Side of the squares whose mean colours stand in for what is painted over.
_COARSE = 64
# OpenCV draws in 32-bit integers.
_FARTHEST = 30_000

Floats = NDArray[np.floating]
Image = NDArray[np.uint8]


def clothes(frame: NDArray[np.uint8], people: Floats, scores: Floats) -> Floats:
    """(P,3,3) mean RGB of everybody's trunk, arms and thighs in a frame; NaN where unseen.

    `people` are points (P,134,2) in pixels of `frame` (H,W,3), with scores (P,134).
    """
    height, width = frame.shape[:2]
    colours = np.full((len(people), len(CLOTHES), 3), np.nan)
    for person, (points, seen) in enumerate(zip(people, scores >= SEEN, strict=True)):
        for part, lines in enumerate(CLOTHES):
            places = [
                points[a] * (1 - _ALONG) + points[b] * _ALONG
                for a, b in lines
                if seen[a] and seen[b]
            ]
            if places:
                x, y = np.concatenate(places).astype(np.intp).T
                pixels = frame[y.clip(0, height - 1), x.clip(0, width - 1)]
                colours[person, part] = pixels.mean(axis=0)
    return colours


def remembered(colours: Floats, worn: Floats) -> Floats:
    """Colours known so far with a little of a new look at them (both (3,3), NaN where unseen)."""
    mixed = (1 - _LEARNING) * colours + _LEARNING * worn
    return np.where(np.isnan(colours), worn, np.where(np.isnan(worn), colours, mixed))


def colour_cost(worn: Floats, second: Floats) -> float:
    """Negative log-likelihood that both are one person's clothes, bounded; 0 where unknown."""
    both = ~np.isnan(worn).any(axis=1) & ~np.isnan(second).any(axis=1)
    if not both.any():
        return 0.0
    apart = np.linalg.norm(worn[both] - second[both], axis=1) / _COLOUR_SPREAD
    return float(min(_MOST_COLOUR_COST, 0.5 * np.median(apart) ** 2))


def without(frame: Image, others: Floats, expected: Floats) -> Image:
    """The frame (H,W,3) with `others` (P,134,2) painted over, as far as they do not lie behind the
    person who is expected at the points (134,2).

    A network that looks for one person near others takes the one who shows most; without them it
    finds the one who is looked for.
    """
    if len(others) == 0:
        return frame
    mask = np.zeros(frame.shape[:2], np.uint8)
    for person in others:
        _trace(mask, person, _OTHERS, 1)
    _trace(mask, expected, _EXPECTED, 0)
    coarse = [max(1, side // _COARSE) for side in frame.shape[1::-1]]
    surroundings = cv2.resize(frame, coarse, interpolation=cv2.INTER_AREA)
    surroundings = cv2.resize(surroundings, frame.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.where(mask[..., None] > 0, surroundings, frame).astype(np.uint8)


def _trace(mask: Image, person: Floats, part: float, level: int) -> None:
    """Draw a person's limbs into a mask, as wide as a part of the body's height."""
    body = np.clip(person[BODY], -_FARTHEST, _FARTHEST)
    width = max(1, int(part * np.ptp(body[:, 1])))
    for first, second in LIMBS:
        ends = [(int(body[joint, 0]), int(body[joint, 1])) for joint in (first, second)]
        cv2.line(mask, ends[0], ends[1], level, width)
