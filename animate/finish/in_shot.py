"""The animated person put where the driving shot's person was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from animate.driving.skeletons import Skeletons
from animate.finish.body import Field, blurred
from animate.finish.ground import DrivingGround, Frames
from animate.media.info import Image
from animate.progress import Progress
from pose.layout import LEFT_ANKLE, RIGHT_ANKLE, SEEN
from pose.sequence import PoseSequence

_BODY = 14
"""Joints that position and size are told by: head, trunk and limbs."""
_ANKLES = [RIGHT_ANKLE, LEFT_ANKLE]
_SURE = 0.9
"""Share from which a pixel's colour is the person's alone."""
_EDGE = 1.6
"""Pixels over which the person's own colours are drawn outwards under a soft edge."""
_SHRUNK = 0.7
"""Scale below which a frame is smoothed before it is made smaller."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The way of a generated frame into the shot: made larger, then moved."""

    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(2,3), as OpenCV takes it."""
        return np.array([[self.scale, 0, self.shift[0]], [0, self.scale, self.shift[1]]])


def fits(followed: PoseSequence, driver: PoseSequence, cuts: Set[int]) -> list[Fit]:
    """The way of every frame, one for each shot, so that nobody slides.

    followed: the generated person's poses on the clip's canvas
    driver: the driving person's on the same canvas, where the shot shows them
    """
    borders = [0, *sorted(cut for cut in cuts if 0 < cut < followed.frames), followed.frames]
    ways: list[Fit] = []
    for first, stop in pairwise(borders):
        ways += [_fit(followed, driver, slice(first, stop))] * (stop - first)
    return ways


def _fit(followed: PoseSequence, driver: PoseSequence, shot: slice) -> Fit:
    """Least squares over all joints of a shot; the feet stand where they stood."""
    here, there = followed.points[shot, 0, :_BODY], driver.points[shot, 0, :_BODY]
    seen = np.minimum(followed.scores[shot, 0, :_BODY], driver.scores[shot, 0, :_BODY]) >= SEEN
    if seen.sum() < 2:
        return Fit()
    mine, goals = here[seen], there[seen]
    spread = mine - mine.mean(axis=0)
    size = float((spread**2).sum())
    scale = float((spread * (goals - goals.mean(axis=0))).sum()) / size if size > 0 else 1.0
    if not 0.05 < scale < 20:
        return Fit()
    across, down = (goals - scale * mine).mean(axis=0)
    feet = seen[:, _ANKLES]
    if feet.any():
        down = (there[:, _ANKLES][feet] - scale * here[:, _ANKLES][feet])[:, 1].mean()
    return Fit(scale=scale, shift=(float(across), float(down)))


class PersonInShot:
    """Lays generated people over the driving shot's background."""

    def __init__(self, ground: DrivingGround, ways: list[Fit]) -> None:
        self._ground, self._ways = ground, ways

    def __call__(self, frames: Iterable[Image]) -> Iterator[Image]:
        """Frames (H,W,4) in order, the fourth channel being the person's mask, likewise."""
        for frame, background, way in zip(frames, self._ground, self._ways, strict=True):
            yield laid(frame, background, way)


def person_in_shot(
    frames: Frames,
    person: Skeletons,
    *,
    followed: PoseSequence,
    driver: PoseSequence,
    cuts: Set[int],
    progress: Progress,
) -> PersonInShot:
    """Register the driving frames, and make their backgrounds.

    frames: the driving video's on the clip's canvas
    person: skeletons of `driver`
    """
    return PersonInShot(DrivingGround(frames, person, cuts, progress), fits(followed, driver, cuts))


def laid(frame: Image, background: Image, way: Fit) -> Image:
    """(H,W,4): a frame's person, by its mask, over a background, and the mask there."""
    share: Field = np.asarray(frame[..., 3] / np.float32(255), np.float32)
    colours = _without_fringe(frame[..., :3].astype(np.float32), share)
    if way.scale < _SHRUNK:
        radius = 0.4 / way.scale
        colours, share = blurred(colours, radius), blurred(share, radius)
    size = background.shape[1], background.shape[0]
    moved = cv2.warpAffine(colours, way.matrix, size, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(share, way.matrix, size)[..., None]
    mixed = mask * moved + (1 - mask) * background
    page = np.concatenate([mixed, 255 * mask], axis=2)
    return np.asarray((page + 0.5).clip(0, 255), np.uint8)


def _without_fringe(colours: Field, share: Field) -> Field:
    """The person's colours drawn outwards, so that a soft edge holds none of the background."""
    sure = cv2.erode((share >= _SURE).astype(np.float32), np.ones((3, 3), np.uint8))
    weight = blurred(sure, _EDGE)[..., None]
    spread = blurred(colours * sure[..., None], _EDGE) / np.maximum(weight, 1e-4)
    usable = (weight > 0.02) & (sure < 1)[..., None]
    return np.asarray(np.where(usable, spread, colours), np.float32)
