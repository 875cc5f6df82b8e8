"""The reference's person brought limb by limb into another pose.

Every part of the body has a map from the target's picture back to the reference's: an affine one
for the trunk, a similarity for the head, and for each limb one that stretches along the bone and
keeps its width. The reference's person is taken out of the picture, the hole filled smoothly from
around it, and the parts are laid over that from the back to the front, each by its confidence,
which falls with the distance to its bone.

Shapes: 134 points (x, y) in pixels of the clip's canvas, h x w its pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pose import layout
from pose.layout import SEEN
from pose.sequence import PoseSequence

Picture = NDArray[np.uint8]
Points = NDArray[np.floating]
Scores = NDArray[np.floating]

HEAD = (layout.NOSE, layout.RIGHT_EYE, layout.LEFT_EYE, layout.RIGHT_EAR, layout.LEFT_EAR)
TRUNK = (layout.RIGHT_SHOULDER, layout.LEFT_SHOULDER, layout.LEFT_HIP, layout.RIGHT_HIP)

_FAR = 1.4
"""Reaches beyond which a part's confidence, exp(-2 * 1.4 ** 3), is below one level of 256."""
_REMOVED = 1.6
"""Share of its reach within which a part of the reference's person is taken out."""
_FILL = (0.7, 1.5, 3, 6, 12, 24)
"""Deviations of the blurs that fill the hole, the smallest first that sees enough around it, in
pixels of a picture whose short side is at most `_FILL_SIDE`."""
_FILL_SIDE = 32


@dataclass(frozen=True, kw_only=True)
class Limb:
    """A bone from `near` the trunk to `far` from it."""

    near: int
    far: int
    reach: float
    """Distance from the bone, in body units, at which the confidence has fallen to exp(-2)."""
    beyond: float = 0.0
    """Share of the bone that a hand or foot goes on behind `far`."""


LEGS = (
    Limb(near=layout.RIGHT_KNEE, far=layout.RIGHT_ANKLE, reach=0.345, beyond=0.35),
    Limb(near=layout.LEFT_KNEE, far=layout.LEFT_ANKLE, reach=0.345, beyond=0.35),
    Limb(near=layout.RIGHT_HIP, far=layout.RIGHT_KNEE, reach=0.415),
    Limb(near=layout.LEFT_HIP, far=layout.LEFT_KNEE, reach=0.415),
)
ARMS = (
    Limb(near=layout.RIGHT_SHOULDER, far=layout.RIGHT_ELBOW, reach=0.345),
    Limb(near=layout.LEFT_SHOULDER, far=layout.LEFT_ELBOW, reach=0.345),
    Limb(near=layout.RIGHT_ELBOW, far=layout.RIGHT_WRIST, reach=0.30, beyond=0.35),
    Limb(near=layout.LEFT_ELBOW, far=layout.LEFT_WRIST, reach=0.30, beyond=0.35),
)
LAP = (layout.RIGHT_HIP, layout.LEFT_HIP, layout.LEFT_KNEE, layout.RIGHT_KNEE)
"""A skirt hangs there; of trousers the legs are laid over it."""
_LAP_REACH, _TRUNK_REACH, _CHEST_REACH, _HEAD_REACH = 0.3, 0.39, 0.5, 0.6


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the body as it lies in the target's picture."""

    outline: NDArray[np.float64]
    """(N,2): a point, a bone's two ends, or a polygon; the confidence is 1 on it."""
    reach: float
    """In pixels."""
    back: NDArray[np.float64]
    """(2,3) affine map from the target's picture to the reference's."""


class LimbWarp:
    """A reference picture and the person in it, ready to be brought into poses."""

    def __init__(self, picture: Picture, points: Points, scores: Scores) -> None:
        """`picture` (h,w,3) has the clip's size; points (134,2) and scores (134,) of its person."""
        self.picture = picture
        self._points = np.asarray(points, np.float64)
        self._seen = np.asarray(scores) >= SEEN
        self._empty = _without_person(picture, self._points, self._seen)

    def __call__(self, points: Points, scores: Scores) -> Picture:
        """The picture (h,w,3) with the person's parts where points (134,2) with scores (134,) have
        them; the picture itself where no part is seen in both poses."""
        target = np.asarray(points, np.float64)
        seen = self._seen & (np.asarray(scores) >= SEEN)
        height, width = self.picture.shape[:2]
        result = self._empty.copy()
        moved = False
        for part in _parts(self._points, target, seen, height):
            box = _box(part, width, height)
            if box is None:
                continue
            colours, confidence = _laid(self.picture, part, box)
            region = result[box[1] : box[3], box[0] : box[2]]
            region += confidence[..., None] * (colours - region)
            moved = True
        return result.round().clip(0, 255).astype(np.uint8) if moved else self.picture

    def follow(self, poses: PoseSequence) -> Callable[[int], Picture]:
        """The picture for each frame of the first person's poses."""
        return lambda frame: self(poses.points[frame, 0], poses.scores[frame, 0])


def _without_person(
    picture: Picture, points: NDArray[np.float64], seen: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The picture (h,w,3) without the person, filled from around it."""
    height, width = picture.shape[:2]
    person = person_cover(points, seen, (width, height), wider=_REMOVED)
    return _filled(picture.astype(np.float32), person)


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
    for part in _parts(points, points, seen, height):
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


def _parts(
    known: NDArray[np.float64], target: NDArray[np.float64], seen: NDArray[np.bool_], height: int
) -> Iterator[Part]:
    """The parts that can be seen in both poses, from the back to the front."""
    unit = _body_unit(target, seen, height)
    if seen[list(LAP)].all():
        corners = list(LAP)
        back = affine_map(target[corners], known[corners])
        yield Part(outline=target[corners], reach=_LAP_REACH * unit, back=back)
    legs = [_limb(limb, known, target, unit) for limb in LEGS if seen[[limb.near, limb.far]].all()]
    arms = [_limb(limb, known, target, unit) for limb in ARMS if seen[[limb.near, limb.far]].all()]
    yield from legs
    yield from _trunk(known, target, seen, unit)
    yield from _head(known, target, seen, unit)
    yield from arms


def _body_unit(points: NDArray[np.float64], seen: NDArray[np.bool_], height: int) -> float:
    """The width of the shoulders in pixels; of a person who stands sideways, from the trunk."""
    right_shoulder, left_shoulder, left_hip, right_hip = points[list(TRUNK)]
    lengths = [0.08 * height]
    if seen[list(TRUNK[:2])].all():
        lengths.append(float(np.linalg.norm(right_shoulder - left_shoulder)))
    if seen[list(TRUNK)].all():
        trunk = (right_shoulder + left_shoulder - right_hip - left_hip) / 2
        lengths.append(0.62 * float(np.linalg.norm(trunk)))
    return max(lengths)


def _trunk(
    known: NDArray[np.float64], target: NDArray[np.float64], seen: NDArray[np.bool_], unit: float
) -> Iterator[Part]:
    joints = [joint for joint in TRUNK if seen[joint]]
    if len(joints) >= 3:
        back = affine_map(target[joints], known[joints])
        yield Part(outline=target[joints], reach=_TRUNK_REACH * unit, back=back)
    elif seen[list(TRUNK[:2])].all():  # the hips lie outside the picture
        ends = list(TRUNK[:2])
        middle = target[ends].mean(0)
        outline = np.stack([middle, middle + np.array([0, 1.2 * unit])])
        back = similarity_map(target[ends], known[ends])
        yield Part(outline=outline, reach=_CHEST_REACH * unit, back=back)


def _head(
    known: NDArray[np.float64], target: NDArray[np.float64], seen: NDArray[np.bool_], unit: float
) -> Iterator[Part]:
    points = [point for point in HEAD if seen[point]]
    if not points:
        return
    centre = target[points].mean(0)
    if seen[layout.NECK]:
        centre = centre + 0.25 * (centre - target[layout.NECK])
        points = [*points, layout.NECK]
    if len(points) >= 2:
        back = similarity_map(target[points], known[points])
        yield Part(outline=centre[None], reach=_HEAD_REACH * unit, back=back)


def _limb(limb: Limb, known: NDArray[np.float64], target: NDArray[np.float64], unit: float) -> Part:
    near, far = target[limb.near], target[limb.far]
    return Part(
        outline=np.stack([near, far + limb.beyond * (far - near)]),
        reach=limb.reach * unit,
        back=bone_map(target[[limb.near, limb.far]], known[[limb.near, limb.far]]),
    )


def affine_map(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2,3) least-squares affine map of points (N,2), N at least 3; where it would stretch more
    than threefold, as of somebody who turns sideways, the similarity."""
    columns = np.concatenate([source, np.ones((len(source), 1))], 1)
    matrix = np.linalg.lstsq(columns, target, rcond=None)[0].T
    stretch = np.linalg.svd(matrix[:, :2], compute_uv=False)[0]
    return similarity_map(source, target) if stretch > 3 else matrix


def similarity_map(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2,3) least-squares map of points (N,2), N at least 2, that turns, scales and moves; the
    scale lies between 0.6 and 1.6."""
    middle, target_middle = source.mean(0), target.mean(0)
    offsets = (source - middle) @ (1, 1j)
    turned = (target - target_middle) @ (1, 1j)
    factor = np.vdot(offsets, turned) / max(float((np.abs(offsets) ** 2).sum()), 1e-6)
    size = max(abs(factor), 1e-6)
    factor *= np.clip(size, 0.6, 1.6) / size
    matrix = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([matrix, target_middle - matrix @ middle])


def bone_map(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2,3) map of a bone (2,2) onto another: stretched along it, at most 2.5 times, and of the
    same width across it."""
    along, length = _direction(source)
    target_along, target_length = _direction(target)
    stretch = np.clip(target_length / length, 0.4, 2.5)
    matrix = stretch * np.outer(target_along, along)
    matrix += np.outer(_across(target_along), _across(along))
    return np.column_stack([matrix, target[0] - matrix @ source[0]])


def _direction(bone: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    difference = bone[1] - bone[0]
    length = float(np.linalg.norm(difference))
    if length < 1e-3:
        return np.array([0.0, 1.0]), 1e-3
    return difference / length, length


def _across(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([-direction[1], direction[0]])


def _box(part: Part, width: int, height: int) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom) of the pixels that a part reaches; None outside the picture."""
    margin = _FAR * part.reach
    left, top = np.maximum(np.floor(part.outline.min(0) - margin), 0).astype(int)
    right, bottom = np.ceil(part.outline.max(0) + margin).astype(int)
    right, bottom = min(int(right), width), min(int(bottom), height)
    return (int(left), int(top), right, bottom) if left < right and top < bottom else None


def _laid(
    picture: Picture, part: Part, box: tuple[int, int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colours (h,w,3) that a part has in a box, and its confidence (h,w) there; 0 for what lies
    outside the reference's picture."""
    left, top, right, bottom = box
    size = (right - left, bottom - top)
    # Points count from a pixel's corner, OpenCV from its centre.
    matrix = part.back.copy()
    matrix[:, 2] += part.back[:, :2] @ (left + 0.5, top + 0.5) - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    colours = cv2.warpAffine(picture, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    everywhere = np.ones(picture.shape[:2], np.float32)
    inside = cv2.warpAffine(everywhere, matrix, size, flags=flags)
    return colours.astype(np.float32), _confidence(part, box) * inside


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
