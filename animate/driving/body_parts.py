"""Parts of a body, and the map of each from one pose of it back to another.

Shapes: 134 points (x, y) in pixels of a picture; maps are (2,3) affine matrices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose import layout

HEAD = (layout.NOSE, layout.RIGHT_EYE, layout.LEFT_EYE, layout.RIGHT_EAR, layout.LEFT_EAR)
TRUNK = (layout.RIGHT_SHOULDER, layout.LEFT_SHOULDER, layout.LEFT_HIP, layout.RIGHT_HIP)


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


def parts_of(
    known: NDArray[np.float64], target: NDArray[np.float64], seen: NDArray[np.bool_], height: int
) -> Iterator[Part]:
    """The parts that can be seen in both poses, from the back to the front."""
    unit = _body_unit(target, seen, height)
    yield from _thighs(known, target, seen, unit)
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


def _thighs(
    known: NDArray[np.float64], target: NDArray[np.float64], seen: NDArray[np.bool_], unit: float
) -> Iterator[Part]:
    """The thighs down to the picture's edge, where knees lie outside of it; they move with the
    trunk."""
    if seen[list(TRUNK)].all() and not seen[list(LAP)].all():
        corners = target[list(TRUNK)]
        hips = corners[:1:-1]  # the right one first, as the shoulders are
        down = hips.mean(0) - corners[:2].mean(0)
        back = similarity_map(corners, known[list(TRUNK)])
        yield Part(
            outline=np.concatenate([hips, hips[::-1] + down]), reach=_TRUNK_REACH * unit, back=back
        )


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
