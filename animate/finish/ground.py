"""The driving shot's own background, without the person that is followed.

What the person hides in one frame other frames show: they are registered to each other
(`animate.finish.camera`), and the median of those that see a position is its colour. A position
that no frame of the shot sees is guessed from around, and said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from animate.driving.skeletons import Skeletons
from animate.finish.body import Field, body_unit, distance, fading
from animate.finish.camera import Homography, Segment, moved_corners, segments
from animate.finish.fill import filled
from animate.media.info import Image
from animate.progress import Progress

_HOLE = 1.7
"""Units around a skeleton that count as the person, clothes and hair included."""
_SOFT = 0.3
"""Units over which the frame itself takes over again."""
_RING = 2.0
"""Units around the hole in which the light of frame and background are compared."""
_MOST_SHIFT = 25.0
"""Levels by which a background is made lighter or darker at most."""
_SAMPLES = 24
"""Frames of a segment that its background is made of."""
_BODIES = 64
_STRIP = 64
"""Rows of a background that are computed together."""
_GUESSED_SIDE = 320
"""Longer side in pixels at which unseen positions are filled in."""
_UNSEEN_SHARE = 0.02
"""Part of the hole from which unseen positions are said."""
_OFF_LEVELS = 10.0
"""Difference of frame and background, where the person is not, from which it is said."""

Frames = Callable[[], Iterator[Image]]
"""Gives the driving frames (H,W,3) on the clip's canvas, from the first on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Plate:
    """The background of a segment."""

    colours: Image
    """(h,w,3): guessed from around where no frame sees it."""
    known: NDArray[np.uint8]
    """(h,w): 255 where some frame sees it."""
    origin: Homography
    """Positions of the segment's first frame on it."""


class DrivingGround:
    """Backgrounds of the frames of a driving video, on the clip's canvas."""

    def __init__(
        self, frames: Frames, person: Skeletons, cuts: Set[int], progress: Progress
    ) -> None:
        """
        person: skeletons of the person that is taken out, where they lie on the frames
        cuts: frames that begin another shot
        """
        self._frames, self._person, self._progress = frames, person, progress
        count = len(person)
        sampled = range(0, count, max(1, count // _BODIES))
        self._unit = body_unit([person.picture(number) for number in sampled])
        self._unseen: dict[int, float] = {}
        self._off: list[int] = []
        with progress.stage("background", 2 * count) as stage:

            def watched() -> Iterator[Image]:
                for frame in frames():
                    yield frame
                    stage.advance()

            free = ((frame, self._away(number) > _HOLE) for number, frame in enumerate(watched()))
            self._segments, self._lost = segments(free, cuts)
            self._plates = self._plates_of(watched())

    def __iter__(self) -> Iterator[Image]:
        """Backgrounds (H,W,3) in order; what could not be recovered is said after the last."""
        self._unseen, self._off = {}, []
        of = [(s, p) for s, p in zip(self._segments, self._plates, strict=True) for _ in s.to_first]
        for number, (frame, (segment, plate)) in enumerate(zip(self._frames(), of, strict=False)):
            yield self._background(number, frame, segment, plate)
        for remark in self.remarks():
            self._progress.warn(remark)

    def remarks(self) -> Iterator[str]:
        """Sentences on the frames whose background could not be recovered."""
        if self._lost:
            yield (
                f"place in driving: the camera could not be followed into {_ranges(self._lost)}; "
                "the background there is made of the frames on one side alone"
            )
        if self._unseen:
            most = max(self._unseen.values())
            yield (
                f"place in driving: in {_ranges(sorted(self._unseen))} up to {most:.0%} of what "
                "the person hides is seen in no other frame; it is guessed from around"
            )
        if self._off:
            yield (
                f"place in driving: in {_ranges(self._off)} the background does not fit the frame; "
                "the camera moves through the scene, or much else moves"
            )

    def _away(self, number: int) -> Field:
        return distance(self._person.picture(number), self._unit)

    def _plates_of(self, frames: Iterator[Image]) -> list[_Plate]:
        """The plate of every segment."""
        plates: list[_Plate] = []
        waiting = list(self._segments)
        chosen: list[tuple[Image, NDArray[np.bool_], Homography]] = []
        for number, frame in enumerate(frames):
            segment = waiting[0]
            if number in _sampled(segment):
                way = segment.to_first[number - segment.first]
                chosen.append((frame, self._away(number) > _HOLE, way))
            if number + 1 == segment.stop:
                plates.append(_plate(chosen, segment))
                chosen, waiting = [], waiting[1:]
                if not waiting:
                    break
        return plates

    def _background(self, number: int, frame: Image, segment: Segment, plate: _Plate) -> Image:
        away = self._away(number)
        share = fading(away, _HOLE, _HOLE + _SOFT)
        if not share.any():
            return frame
        way = plate.origin @ segment.to_first[number - segment.first]
        size = frame.shape[1], frame.shape[0]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        behind = cv2.warpPerspective(
            plate.colours, way, size, flags=flags, borderMode=cv2.BORDER_REPLICATE
        ).astype(np.float32)
        nearest = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        known = cv2.warpPerspective(plate.known, way, size, flags=nearest) > 0
        behind += self._shift(number, frame, behind, away, known)
        unseen = ~known & (share > 0)
        if unseen.any():
            hidden = float(unseen.sum()) / float((share > 0).sum())
            if hidden > _UNSEEN_SHARE:
                self._unseen[number] = hidden
        mixed = share[..., None] * behind + (1 - share[..., None]) * frame
        return np.asarray((mixed + 0.5).clip(0, 255), np.uint8)

    def _shift(
        self, number: int, frame: Image, behind: Field, away: Field, known: NDArray[np.bool_]
    ) -> Field:
        """(3,): levels by which the background differs from the frame around the person."""
        outside = known & (away > _HOLE)
        if not outside.any():
            return np.zeros(3, np.float32)
        difference = frame.astype(np.float32) - behind
        ring = outside & (away < _HOLE + _RING)
        near = difference[ring if ring.sum() > 50 else outside]
        shift = np.median(near, axis=0).clip(-_MOST_SHIFT, _MOST_SHIFT)
        if float(np.median(np.abs(difference[outside] - shift).max(axis=1))) > _OFF_LEVELS:
            self._off.append(number)
        return np.asarray(shift, np.float32)


def _sampled(segment: Segment) -> set[int]:
    count = len(segment.to_first)
    steps = np.linspace(0, count - 1, min(count, _SAMPLES)).round().astype(int)
    return {segment.first + int(step) for step in steps}


def _plate(
    samples: Sequence[tuple[Image, NDArray[np.bool_], Homography]], segment: Segment
) -> _Plate:
    """The median of the samples that see a position."""
    height, width = samples[0][0].shape[:2]
    corners = np.concatenate([moved_corners(way, width, height) for way in segment.to_first])
    left, top = np.floor(corners.min(axis=0))
    right, bottom = np.ceil(corners.max(axis=0))
    origin = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]], np.float64)
    size = int(right - left), int(bottom - top)
    layers, seen = [], []
    for picture, free, way in samples:
        layers.append(cv2.warpPerspective(picture, origin @ way, size))
        mask = free.astype(np.uint8) * 255
        seen.append(cv2.warpPerspective(mask, origin @ way, size, flags=cv2.INTER_NEAREST) > 0)
    colours = np.zeros((size[1], size[0], 3), np.uint8)
    known = np.zeros((size[1], size[0]), np.uint8)
    for row in range(0, size[1], _STRIP):
        rows = slice(row, row + _STRIP)
        mask = np.stack([layer[rows] for layer in seen])
        stack = np.stack([layer[rows] for layer in layers])
        stack[~mask] = 255  # behind all that is seen, once sorted
        stack.sort(axis=0)
        count = mask.sum(axis=0)
        middle = np.maximum(count - 1, 0)[None, ..., None] // 2
        colours[rows] = np.take_along_axis(
            stack, np.broadcast_to(middle, (1, *stack.shape[1:])), 0
        )[0]
        known[rows] = np.where(count > 0, 255, 0)
    guessed = filled(colours, known > 0, _GUESSED_SIDE)
    colours = np.asarray((guessed + 0.5).clip(0, 255), np.uint8)
    return _Plate(colours=colours, known=known, origin=origin)


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers that rise, in words: "frames 3 to 9, 14"."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    words = [f"{a} to {b}" if b > a else f"{a}" for a, b in spans[:6]]
    more = f" and {len(spans) - 6} more stretches" if len(spans) > 6 else ""
    return f"frame{'s' if len(numbers) > 1 else ''} {', '.join(words)}{more}"
