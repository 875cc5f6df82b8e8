"""The camera's motion over a shot, by what stands still in its pictures.

Each frame is registered to the one before it: corners are followed by optical flow, there and back,
and a plane's motion is fitted to them without those that disagree. A camera that stands still is
recognised as such, so that nothing drifts.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from animate.media.info import Image

Homography = NDArray[np.float64]
"""(3,3): positions of one picture in another one."""

_WORKED = 640
"""Longer side in pixels that pictures are registered with."""
_CORNERS = 500
_FEWEST = 12
"""Corners that must agree, at least."""
_FOLLOWED, _AGREEING = 0.2, 0.5
"""Part of the corners that must be found again, and of these the part that must agree."""
_STILL_PIXELS, _STILL = 0.4, 0.7
"""Pixels within which a corner stands still, and the part of them by which the camera does."""
_PLAIN_LEVELS = 3.0
"""Mean difference of backgrounds up to which they are the same, corners or not."""
_RANSAC_PIXELS = 1.5
_RIGID = 0.9
"""Part of a plane's corners that must agree with a mere turn, shift and zoom to prefer it."""
_WIDEST = 2.0
"""Picture widths or heights that a segment may reach beyond its first frame."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """Frames that could be registered to each other."""

    first: int
    to_first: tuple[Homography, ...]
    """Positions of each frame in the first one's picture."""

    @property
    def stop(self) -> int:
        """Number of the frame after the last."""
        return self.first + len(self.to_first)


def segments(
    frames: Iterable[tuple[Image, NDArray[np.bool_]]], cuts: Set[int]
) -> tuple[list[Segment], list[int]]:
    """Segments of frames, and the frames before which the camera was lost, but for `cuts`.

    frames: pictures (H,W,3) of one size with the background's pixels (H,W)
    """
    finished: list[Segment] = []
    lost: list[int] = []
    ways: list[Homography] = []
    first, last = 0, None
    for number, (picture, free) in enumerate(frames):
        small = _small(picture, free)
        way = None
        if last is not None and number not in cuts:
            way = _step(small, last)
            if way is None:
                lost.append(number)
        if way is not None and _reaches_far(ways[-1] @ way, picture):
            way = None
        if way is None and ways:
            finished.append(Segment(first=first, to_first=tuple(ways)))
            ways, first = [], number
        ways.append(np.eye(3) if way is None else ways[-1] @ way)
        last = small
    if ways:
        finished.append(Segment(first=first, to_first=tuple(ways)))
    return finished, lost


@dataclass(frozen=True, kw_only=True, eq=False)
class _Small:
    grey: NDArray[np.uint8]
    free: NDArray[np.uint8]
    scale: float


def _small(picture: Image, free: NDArray[np.bool_]) -> _Small:
    height, width = picture.shape[:2]
    scale = min(1.0, _WORKED / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    mask = free.astype(np.uint8) * 255
    return _Small(
        grey=np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8),
        free=np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8),
        scale=scale,
    )


def _step(picture: _Small, last: _Small) -> Homography | None:
    """Positions of a picture in the one before it; None where that cannot be told."""
    way = _by_corners(picture, last)
    if way is None and _looks_same(picture, last):
        return np.eye(3)
    return way


def _looks_same(picture: _Small, last: _Small) -> bool:
    """True where the backgrounds hardly differ, be it that there is nothing to follow in them."""
    both = (picture.free > 0) & (last.free > 0)
    differs = np.abs(picture.grey.astype(int) - last.grey)[both]
    return differs.size > 0 and float(differs.mean()) < _PLAIN_LEVELS


def _by_corners(picture: _Small, last: _Small) -> Homography | None:
    corners = cv2.goodFeaturesToTrack(picture.grey, _CORNERS, 0.01, 7, mask=picture.free)
    if corners is None:
        return None
    here, there = _followed(picture, last, corners)
    if len(here) < max(_FEWEST, _FOLLOWED * len(corners)):
        return None
    if np.mean(np.linalg.norm(there - here, axis=1) < _STILL_PIXELS) >= _STILL:
        return np.eye(3)
    cv2.setRNGSeed(0)
    plane, agreeing = cv2.findHomography(here, there, cv2.RANSAC, _RANSAC_PIXELS)
    count = 0 if agreeing is None else int(agreeing.sum())
    if plane is None or count < max(_FEWEST, _AGREEING * len(here)):
        return None
    rigid, similar = cv2.estimateAffinePartial2D(
        here, there, method=cv2.RANSAC, ransacReprojThreshold=_RANSAC_PIXELS
    )
    if rigid is not None and int(similar.sum()) >= _RIGID * count:
        plane = np.vstack([rigid, (0, 0, 1)])
    zoom = np.diag([picture.scale, picture.scale, 1.0])
    return np.asarray(np.linalg.inv(zoom) @ plane @ zoom, np.float64)


def _followed(
    picture: _Small, last: _Small, corners: NDArray
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Corners (N,2) of the background, and their positions in the picture before."""
    new: Any = None
    moved, seen, _ = cv2.calcOpticalFlowPyrLK(picture.grey, last.grey, corners, new)
    back, again, _ = cv2.calcOpticalFlowPyrLK(last.grey, picture.grey, moved, new)
    here, there = corners.reshape(-1, 2), moved.reshape(-1, 2)
    height, width = last.grey.shape
    inside = np.asarray(((there >= 0) & (there < (width - 1, height - 1))).all(axis=1))
    pixels = np.where(inside[:, None], there, 0).astype(int)
    good = (
        (seen.ravel() == 1)
        & (again.ravel() == 1)
        & (np.linalg.norm(back.reshape(-1, 2) - here, axis=1) < 0.8)
        & inside
        & (last.free[pixels[:, 1], pixels[:, 0]] > 0)
    )
    return here[good], there[good]


def _reaches_far(way: Homography, picture: Image) -> bool:
    """True where a frame lies far beyond the first one's picture, or is distorted beyond use."""
    height, width = picture.shape[:2]
    corners = moved_corners(way, width, height)
    size = np.array([width, height])
    beyond = np.maximum(-corners, corners - size) / size
    return bool(not np.isfinite(corners).all() or beyond.max() > _WIDEST)


def moved_corners(way: Homography, width: int, height: int) -> NDArray[np.float64]:
    """(4,2): positions of a picture's corners."""
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], float).T
    moved = way @ corners
    return np.asarray((moved[:2] / moved[2]).T, np.float64)
