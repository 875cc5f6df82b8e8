"""The reference's person brought limb by limb into another pose.

Every part of the body has a map from the target's picture back to the reference's: an affine one
for the trunk, a similarity for the head, and for each limb one that stretches along the bone and
keeps its width. The reference's person is taken out of the picture, the hole filled smoothly from
around it, and the parts are laid over that from the back to the front. A part takes along the
pixels that are the person's (a mask) and no other part's (the nearest bone), and what is laid fades
with the distance to its own bone.

Shapes: 134 points (x, y) in pixels of the clip's canvas, h x w its pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from animate.driving.body_parts import Part, parts_of
from pose import layout
from pose.estimators.blazepose.mask import person_mask
from pose.layout import SEEN
from pose.sequence import PoseSequence

Picture = NDArray[np.uint8]
Points = NDArray[np.floating]
Scores = NDArray[np.floating]

_FAR = 1.4
"""Reaches beyond which a part's confidence, exp(-2 * 1.4 ** 3), is below one level of 256."""
_LAID = 1.3
"""Share of its reach to which a part is laid: the mask says where it ends."""
_OPAQUE = 1.2
"""Confidence is multiplied by that, up to 1."""
_BELONGING = 5.0
"""Fall of a part's share in a pixel, per reach that another part is nearer to it."""
_SURE = 0.6
"""Share of its reach within which a part is the person's, whatever the mask says."""
_TRUSTED = 0.5
"""Least mean of the mask there; a mask below has missed the person."""
_RIM = 0.012
"""Part of the short side by which the hole is wider than the mask."""
_FILL = (0.7, 1.5, 3, 6, 12, 24)
"""Deviations of the blurs that fill the hole, the smallest first that sees enough around it, in
pixels of a picture whose short side is at most `_FILL_SIDE`."""
_FILL_SIDE = 32


class LimbWarp:
    """A reference picture and the person in it, ready to be brought into poses."""

    def __init__(
        self,
        picture: Picture,
        points: Points,
        scores: Scores,
        mask: NDArray[np.floating] | None = None,
    ) -> None:
        """`picture` (h,w,3) has the clip's size; points (134,2) and scores (134,) of its person.

        mask: (h,w) in [0,1], 1 on the person; None: the segmentation's (`person_mask`)
        """
        self.picture = picture
        self._points = np.asarray(points, np.float64)
        self._seen = np.asarray(scores) >= SEEN
        if mask is None:
            mask = person_mask(picture, points, scores)
        self._mask = _trusted(np.asarray(mask, np.float32), self._points, self._seen)
        self._empty = _without_person(picture, self._mask)
        self._shares: dict[bytes, list[NDArray[np.float32]]] = {}

    def __call__(self, points: Points, scores: Scores) -> Picture:
        """The picture (h,w,3) with the person's parts where points (134,2) with scores (134,) have
        them; the picture itself where no part is seen in both poses."""
        target = np.asarray(points, np.float64)
        seen = self._seen & (np.asarray(scores) >= SEEN)
        height, width = self.picture.shape[:2]
        result = self._empty.copy()
        moved = False
        parts = parts_of(self._points, target, seen, height)
        for part, share in zip(parts, self._shares_of_parts(seen), strict=True):
            laid = replace(part, reach=_LAID * part.reach)
            box = _box(laid, width, height)
            if box is None:
                continue
            colours, confidence = _laid(self.picture, share, laid, box)
            region = result[box[1] : box[3], box[0] : box[2]]
            region += confidence[..., None] * (colours - region)
            moved = True
        return result.round().clip(0, 255).astype(np.uint8) if moved else self.picture

    def _shares_of_parts(self, seen: NDArray[np.bool_]) -> list[NDArray[np.float32]]:
        """(h,w) for each part: its share, from 0 to 1, in the person's pixels of the reference."""
        key = seen[layout.BODY].tobytes()  # no part depends on others
        if key not in self._shares:
            height, width = self._mask.shape
            everywhere = (0, 0, width, height)
            parts = parts_of(self._points, self._points, seen, height)
            distances = [_distances(part.outline, everywhere) / part.reach for part in parts]
            nearest = np.min(distances, 0) if distances else 0
            self._shares = {
                key: [
                    (self._mask * np.exp(_BELONGING * (nearest - distance))).astype(np.float32)
                    for distance in distances
                ]
            }
        return self._shares[key]

    def follow(self, poses: PoseSequence) -> Callable[[int], Picture]:
        """The picture for each frame of the first person's poses."""
        return lambda frame: self(poses.points[frame, 0], poses.scores[frame, 0])


def _trusted(
    mask: NDArray[np.float32], points: NDArray[np.float64], seen: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The mask (h,w) with what is the person's for sure; the person's cover where it is no mask of
    that person."""
    height, width = mask.shape
    sure = person_cover(points, seen, (width, height), wider=_SURE) > 0.5
    if not sure.any() or mask[sure].mean() < _TRUSTED:
        return person_cover(points, seen, (width, height))
    return np.where(sure, np.float32(1), mask)


def _without_person(picture: Picture, mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """The picture (h,w,3) without the person of a mask (h,w), filled from around it."""
    side = 2 * max(1, round(_RIM * min(mask.shape))) + 1
    hole = cv2.dilate(mask, np.ones((side, side), np.uint8))
    return _filled(picture.astype(np.float32), np.asarray(hole, np.float32))


def person_cover(
    points: NDArray[np.float64],
    seen: NDArray[np.bool_],
    size: tuple[int, int],
    *,
    wider: float = 1.0,
) -> NDArray[np.float32]:
    """(h,w) from 0 to 1: the part of a picture of a size (width, height) that a person covers.

    points: (134,2) in its pixels
    seen: (134,) points that count
    wider: factor on the reach of every part of the body
    """
    width, height = size
    person = np.zeros((height, width), np.float32)
    for part in parts_of(points, points, seen, height):
        reaching = replace(part, reach=wider * part.reach)
        box = _box(reaching, width, height)
        if box is not None:
            region = person[box[1] : box[3], box[0] : box[2]]
            np.maximum(region, _confidence(reaching, box), out=region)
    return person


def _filled(picture: NDArray[np.float32], hole: NDArray[np.float32]) -> NDArray[np.float32]:
    """The picture (h,w,3) with smooth colours from outside the hole (h,w) where that is 1."""
    height, width = hole.shape
    scale = min(1, _FILL_SIDE / min(height, width))
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    known = 1 - hole[..., None] + 1e-4
    weights = cv2.resize(known, small, interpolation=cv2.INTER_AREA)[..., None]
    colours = cv2.resize(picture * known, small, interpolation=cv2.INTER_AREA)
    filled, missing = np.zeros_like(colours), np.ones_like(weights)
    for deviation in _FILL:
        around = cv2.GaussianBlur(colours, (0, 0), deviation)
        weight = cv2.GaussianBlur(weights, (0, 0), deviation)[..., None]
        share = missing * np.clip(weight / 0.3, 0, 1)  # below 0.3 too little is seen: go wider
        filled += share * around / np.maximum(weight, 1e-6)
        missing -= share
    filled += missing * colours.sum((0, 1)) / weights.sum()
    large = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(known * picture + (1 - known) * large, np.float32)


def _box(part: Part, width: int, height: int) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom) of the pixels that a part reaches; None outside the picture."""
    margin = _FAR * part.reach
    left, top = np.maximum(np.floor(part.outline.min(0) - margin), 0).astype(int)
    right, bottom = np.ceil(part.outline.max(0) + margin).astype(int)
    right, bottom = min(int(right), width), min(int(bottom), height)
    return (int(left), int(top), right, bottom) if left < right and top < bottom else None


def _laid(
    picture: Picture, share: NDArray[np.float32], part: Part, box: tuple[int, int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colours (h,w,3) that a part has in a box, and its confidence (h,w) there, which is 0 for what
    lies outside the reference's picture. `share` (h,w): the part's in the reference's pixels."""
    left, top, right, bottom = box
    size = (right - left, bottom - top)
    # Points count from a pixel's corner, OpenCV from its centre.
    matrix = part.back.copy()
    matrix[:, 2] += part.back[:, :2] @ (left + 0.5, top + 0.5) - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    colours = cv2.warpAffine(picture, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(share, matrix, size, flags=flags)
    confidence = np.minimum(_OPAQUE * _confidence(part, box), 1) * inside
    return colours.astype(np.float32), confidence


def _confidence(part: Part, box: tuple[int, int, int, int]) -> NDArray[np.float32]:
    """(h,w) in [0,1]: 1 on the part's outline, exp(-2) at its reach."""
    distance = _distances(part.outline, box) / part.reach
    return np.exp(-2 * distance**3).astype(np.float32)


def _distances(outline: NDArray[np.float64], box: tuple[int, int, int, int]) -> NDArray[np.float64]:
    """(h,w) distances of a box's pixels from a point, a bone, or a polygon's area."""
    left, top, right, bottom = box
    x, y = np.arange(left, right) + 0.5, np.arange(top, bottom)[:, None] + 0.5
    corners = len(outline)
    edges = [(outline[i], outline[(i + 1) % corners]) for i in range(corners if corners > 2 else 1)]
    nearest = np.min(
        [_from_bone(x - start[0], y - start[1], end - start) for start, end in edges], 0
    )
    if corners > 2:
        polygon = cv2.convexHull((outline - (left + 0.5, top + 0.5)).astype(np.float32))
        mask = np.zeros(nearest.shape, np.uint8)
        cv2.fillConvexPoly(mask, polygon.round().astype(np.int32), 1)
        nearest = np.where(mask == 1, 0, nearest)
    return nearest


def _from_bone(
    x: NDArray[np.float64], y: NDArray[np.float64], bone: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(h,w) distances of points (x,) and (y,1), counted from a bone's start, from the bone."""
    across, down = bone
    share = np.clip((x * across + y * down) / max(float(bone @ bone), 1e-6), 0, 1)
    return np.asarray(np.hypot(x - share * across, y - share * down))
