"""Cuts in a driving video: the frames with which a new shot starts.

A cut is a frame whose parts are not found in the frame before, wherever they may have moved, and
whose colours are others too. Brightness and contrast are evened out first, so that exposure may
change; a frame that stands between two that belong together is a flash and no cut. A dissolve is
none either: nothing jumps.

Figures behind the thresholds (residual, share of other colours): a dancing person, also with 39 of
40 frames left out, at most 23.4 and 0.14; a change to a close-up 1.6 times as large 26.7 and 0.23;
a change of scene 34 and 0.59. A mirrored picture (29.8, 0.00) is not told from a turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pose.errors import PoseError

Picture = NDArray[np.uint8]

_LONGER_SIDE = 64
_BLOCK, _REACH = 8, 12  # in pixels of the small picture: parts may move by a fifth of the frame
_MIDDLE, _SPREAD, _LEAST_SPREAD = 128.0, 50.0, 12.0
_RECENT = 8


@dataclass(frozen=True, kw_only=True)
class CutOptions:
    """When a frame starts a new shot; all have to hold."""

    residual: float = 24.0
    """Least difference of a frame's parts from the most similar parts of the frame before: root
    mean square in levels, where the picture's own contrast is 50."""
    colours: float = 0.18
    """Least share of the picture in other colours, in [0,1]."""
    jump: float = 1.5
    """Least multiple of the median residual of the recent frames: fast motion goes on, a cut
    is alone."""

    def __post_init__(self) -> None:
        if self.residual <= 0 or self.jump < 0 or not 0 <= self.colours <= 1:
            raise PoseError("residual must be above 0, jump not below, colours in [0,1]")


def mark_cuts(
    frames: Iterable[Picture], options: CutOptions | None = None
) -> Iterator[tuple[Picture, bool]]:
    """Each frame (H,W,3) uint8 RGB with whether a new shot starts with it, one frame behind.

    The first frame starts none. Holds one frame and a few numbers.
    """
    options = options or CutOptions()
    recent: deque[float] = deque(maxlen=_RECENT)
    before: NDArray[np.float32] | None = None
    held: tuple[Picture, NDArray[np.float32]] | None = None  # perhaps a cut; the next one decides
    for frame in frames:
        now = _small(frame)
        if held is not None and before is not None:
            flash = not _differs(before, now, options, None)
            yield held[0], not flash
            if not flash:
                before = held[1]
            held = None
        if before is not None and _differs(before, now, options, recent):
            held = (frame, now)
            continue
        before = now
        yield frame, False
    if held is not None:
        yield held[0], True


def _differs(
    before: NDArray[np.float32],
    now: NDArray[np.float32],
    options: CutOptions,
    recent: deque[float] | None,
) -> bool:
    """True if `now` is another scene than `before`; notes its residual in `recent`.

    Residuals take milliseconds, so that they are only looked at where colours changed; without,
    what is noted is 0.
    """
    changed = other_colours(before, now) >= options.colours
    difference = residual(before, now) if changed else 0.0
    usual = float(np.median(recent)) if recent else 0.0
    if recent is not None:
        recent.append(difference)
    return changed and difference >= max(options.residual, options.jump * usual)


def _small(frame: Picture) -> NDArray[np.float32]:
    """The frame at 64 pixels, with a fixed brightness and contrast (over all colours at once)."""
    height, width = frame.shape[:2]
    scale = _LONGER_SIDE / max(height, width)
    size = (max(_BLOCK, round(width * scale)), max(_BLOCK, round(height * scale)))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    spread = max(float(small.std()), _LEAST_SPREAD)
    evened = (small - small.mean()) * (_SPREAD / spread) + _MIDDLE
    return np.clip(evened, 0, 255).astype(np.float32)


def residual(before: NDArray[np.float32], now: NDArray[np.float32]) -> float:
    """Difference of the blocks of `now` from those of `before`: mean of their smallest RMS.

    Both (h,w,3) small pictures of one size; every block is looked for around its own place.
    """
    height, width = now.shape[:2]
    padded = cv2.copyMakeBorder(before, *(_REACH,) * 4, borderType=cv2.BORDER_REPLICATE)
    differences = []
    for top in range(0, height - _BLOCK + 1, _BLOCK):
        for left in range(0, width - _BLOCK + 1, _BLOCK):
            block = now[top : top + _BLOCK, left : left + _BLOCK]
            around = padded[top : top + _BLOCK + 2 * _REACH, left : left + _BLOCK + 2 * _REACH]
            squares = cv2.matchTemplate(around, block, cv2.TM_SQDIFF)
            differences.append(max(float(squares.min()), 0.0) / block.size)
    return float(np.sqrt(differences).mean())


def other_colours(before: NDArray[np.float32], now: NDArray[np.float32]) -> float:
    """Share of the picture, in [0,1], whose colour (8 levels a channel) has no counterpart."""
    shared = np.minimum(_histogram(before), _histogram(now)).sum()
    return float(1 - shared)


def _histogram(picture: NDArray[np.float32]) -> NDArray[np.float64]:
    levels = (picture // 32).astype(np.int64)
    index = levels[..., 0] * 64 + levels[..., 1] * 8 + levels[..., 2]
    return np.bincount(index.ravel(), minlength=512) / index.size
