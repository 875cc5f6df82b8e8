"""Frames between frames, by optical flow: back to the driving video's rate after a stride.

Dense flow both ways by dense inverse search (Kroeger et al. 2016, OpenCV's DIS); the flows to a
moment in between follow from them as in Super SloMo (Jiang et al. 2018, equation 4), without its
networks: both neighbours are warped there and mixed by nearness in time. Where the flows there and
back do not lead to the same spot, something is hidden in one frame or too fast for the flow. A mix
would show it twice, half transparent: what one frame alone can be followed from is taken from that
one, and where neither can, the nearer frame is shown as it is. Two frames are held at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from animate.media.info import Image

Flow = NDArray[np.float32]
"""(h,w,2): by how many pixels (x, y) each pixel moves."""

_JUMP = 0.6
"""Part of two frames' difference that is left after the motion, from which they show two shots.

Dancers at 7 frames/s leave 0.3 to 0.5 of it, shots of different scenes 0.7 to 1.
"""
_ALIKE = 4.0
"""Mean difference in levels up to which frames are mixed whatever the motion explains."""
_STRAY, _STRAY_SHARE = 3.0, 0.2
"""Pixels, and part of its way, by which a pixel may miss its start after going there and back."""
_SMALL_SIDE = 256
"""Pixels of the short side up to which flow is found at full resolution."""


@dataclass(frozen=True, kw_only=True)
class Tempo:
    """Frames spread in time."""

    step: Fraction
    """Frames that come in for each one that goes out, at most 1."""
    count: int
    """Frames that go out."""
    fps: Fraction
    """Rate of those."""

    def position(self, number: int) -> tuple[int, Fraction]:
        """The frame before outgoing frame `number`, and how far it is on to the next, in [0,1)."""
        exact = number * self.step
        index = int(exact)
        return index, exact - index


def tempo_to(fps: Fraction, *, frames: int, rate: Fraction, most: int) -> Tempo:
    """The tempo that brings `frames` at the rate `rate` to `fps`: at most `most` frames.

    The last one that comes in is the last that goes out, or nearly: it is not repeated.
    Raises ValueError if `fps` is below `rate`.
    """
    if fps < rate:
        raise ValueError(f"{rate} frames/s are more than {fps}")
    count = (frames - 1) * fps // rate + 1
    return Tempo(step=rate / fps, count=min(int(count), most), fps=fps)


def interpolated(
    frames: Iterable[Image], tempo: Tempo, cuts: Collection[int] = (), *, enlarged: float = 1.0
) -> Iterator[Image]:
    """(H,W,3) uint8 frames in the new tempo; the given ones come through unchanged. A fourth
    channel, such as a mask, moves with the colours.

    enlarged: factor by which the frames were enlarged; motion is found at the size before that,
        where there is as much to see and less to be mistaken for motion

    Across a cut (`cuts` hold the numbers of first frames of a shot), and where no motion leads
    from one frame to the next, the nearer one is shown.
    """
    arriving = iter(frames)
    first, second = next(arriving, None), next(arriving, None)
    at, between = 0, None
    for number in range(tempo.count):
        index, share = tempo.position(number)
        while at < index and second is not None:
            first, second = second, next(arriving, None)
            at, between = at + 1, None
        if first is None:
            return
        if share == 0 or second is None:
            yield first
            continue
        if between is None:
            between = Between(first, second, cut=at + 1 in cuts, enlarged=enlarged)
        yield between.at(float(share))


class Between:
    """The frames between two frames (H,W,3) uint8."""

    def __init__(
        self, first: Image, second: Image, *, cut: bool = False, enlarged: float = 1.0
    ) -> None:
        """
        enlarged: see `interpolated`
        """
        self._first, self._second = first, second
        self.jump = cut
        """True where no motion leads from one to the other."""
        if cut or np.array_equal(first, second):
            return
        grey = [cv2.cvtColor(frame[..., :3], cv2.COLOR_RGB2GRAY) for frame in (first, second)]
        if enlarged > 1:
            height, width = grey[0].shape
            small = max(1, round(width / enlarged)), max(1, round(height / enlarged))
            grey = [cv2.resize(picture, small, interpolation=cv2.INTER_AREA) for picture in grey]
        finder = _finder(grey[0].shape[:2])
        room = np.zeros((*grey[0].shape, 2), np.float32)
        self._forth: Flow = np.array(finder.calc(grey[0], grey[1], room.copy()), np.float32)
        self._back: Flow = np.array(finder.calc(grey[1], grey[0], room), np.float32)
        self._followed = _followed(self._forth, self._back), _followed(self._back, self._forth)
        difference = float(cv2.absdiff(*grey).mean())
        left = float(cv2.absdiff(grey[0], _warped(grey[1], self._forth)).mean())
        self.jump = difference > _ALIKE and left > _JUMP * difference
        if enlarged > 1:
            self._to_size(first.shape[1], first.shape[0])

    def _to_size(self, width: int, height: int) -> None:
        """Bring the motion to the size of the frames."""
        rows, columns = self._forth.shape[:2]
        scale = np.array([width / columns, height / rows], np.float32)

        def large(flow: Flow, method: int) -> Flow:
            return np.asarray(cv2.resize(flow, (width, height), interpolation=method), np.float32)

        self._forth = large(self._forth, cv2.INTER_CUBIC) * scale
        self._back = large(self._back, cv2.INTER_CUBIC) * scale
        there, here = self._followed
        self._followed = large(there, cv2.INTER_LINEAR), large(here, cv2.INTER_LINEAR)

    def at(self, share: float) -> Image:
        """The frame at `share` of the way from the first to the second, in (0,1)."""
        if self.jump:
            return self._first if share < 0.5 else self._second
        if np.array_equal(self._first, self._second):
            return self._first
        forth, back, left = self._forth, self._back, 1 - share
        to_first = -left * share * forth + share * share * back
        to_second = left * left * forth - share * left * back
        from_first = _warped(self._first, to_first).astype(np.float32)
        from_second = _warped(self._second, to_second).astype(np.float32)
        first = _warped(self._followed[0], to_first)[..., None]
        second = _warped(self._followed[1], to_second)[..., None]
        total = np.maximum(left * first + share * second, 1e-6)
        mixed = (left * first * from_first + share * second * from_second) / total
        nearer = self._first if share < 0.5 else self._second
        surely = np.maximum(first, second)
        return (surely * mixed + (1 - surely) * nearer + 0.5).clip(0, 255).astype(np.uint8)


def _followed(there: Flow, back: Flow) -> Flow:
    """(h,w): 1 where a pixel that goes there and back comes to its start again, 0 far from it."""
    missed = np.linalg.norm(there + _warped(back, there), axis=2)
    allowed = _STRAY + _STRAY_SHARE * np.linalg.norm(there, axis=2)
    agreeing = np.exp(-((missed / allowed) ** 2)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(agreeing, (0, 0), 1.0), np.float32)


def _finder(shape: tuple[int, int]) -> cv2.DISOpticalFlow:
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    if min(shape) <= _SMALL_SIDE:
        finder.setFinestScale(0)
    return finder


def _warped(picture: NDArray, flow: Flow) -> NDArray:
    """The picture as sampled `flow` pixels away from each place; the edge goes on outside."""
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(
        picture, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE
    )
