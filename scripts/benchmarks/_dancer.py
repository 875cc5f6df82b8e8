"""A dancer whose every point is known: smooth forward kinematics, for figures and tests."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pose.layout import FACE, LEFT_HAND, POINTS, RIGHT_HAND
from pose.sequence import PoseSequence

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Build:
    """Lengths of a body as parts of its nominal height, and where it stands."""

    height: float = 800.0
    """Nominal height in pixels."""
    feet: tuple[float, float] = (288.0, 960.0)
    """The point on the ground between the feet, in pixels."""
    arms: float = 1.0
    """Arm lengths, times the usual."""
    legs: float = 1.0
    """Leg lengths, times the usual."""
    sitting: bool = False
    """Thighs point at the camera."""


def dancer(
    frames: int,
    build: Build | None = None,
    *,
    fps: Fraction = Fraction(30),
    canvas: tuple[int, int] = (576, 1024),
    energy: float = 1.0,
) -> PoseSequence:
    """A person who sways, waves and bends the knees; every point seen with score 0.9.

    `energy` 0 stands still with hanging arms.
    """
    build = build or Build()
    times = np.arange(frames) / float(fps)
    points = np.zeros((frames, POINTS, 2))
    for frame, time in enumerate(times):
        points[frame] = _body(build, time, energy)
    return PoseSequence(
        points=points[:, None].astype(np.float32),
        scores=np.full((frames, 1, POINTS), 0.9, np.float32),
        canvas=canvas,
        fps=fps,
        times=times,
        estimator="dancer",
    )


def _body(build: Build, time: float, energy: float) -> Array:
    beat = 2 * np.pi * time
    lean = 0.06 * energy * np.sin(0.7 * beat)
    bend = 0.25 * energy * (1 - np.cos(0.9 * beat)) / 2
    p = np.zeros((POINTS, 2))
    thigh, shin = 0.24 * build.legs, 0.24 * build.legs
    fore = 0.35 if build.sitting else np.cos(bend * 1.2)
    rise = thigh * fore + shin * np.cos(bend)
    hips = np.array([0.05 * energy * np.sin(0.5 * beat), -rise - 0.05])
    trunk = np.array([np.sin(lean), -np.cos(lean)])
    across = np.array([np.cos(lean), np.sin(lean)])
    p[1] = hips + 0.30 * trunk
    p[0] = p[1] + 0.10 * trunk + 0.01 * energy * np.sin(1.1 * beat) * across
    for side, joints in ((-1, (2, 3, 4, 8, 9, 10)), (1, (5, 6, 7, 11, 12, 13))):
        shoulder, elbow, wrist, hip, knee, ankle = joints
        p[shoulder] = p[1] + 0.105 * side * across
        p[hip] = hips + 0.06 * side * across
        swing = energy * (1.0 + np.sin((0.6 + 0.15 * side) * beat))
        arm = np.array([side * np.sin(swing), np.cos(swing)])
        turn = swing + 0.5 * energy * (1 + np.sin(1.2 * beat))
        forearm = np.array([side * np.sin(turn), np.cos(turn)])
        p[elbow] = p[shoulder] + 0.16 * build.arms * arm
        p[wrist] = p[elbow] + 0.15 * build.arms * forearm
        p[ankle] = (0.08 * side, -0.05)
        p[knee] = (p[hip] + p[ankle]) / 2 + np.array([side * 0.3 * bend * thigh, 0])
        if build.sitting:
            p[knee] = p[hip] + np.array([side * 0.04, thigh * fore])
        hand = LEFT_HAND if side > 0 else RIGHT_HAND
        p[hand] = p[wrist] + _hand(forearm, side, build.arms)
        toes = (18, 19, 20) if side > 0 else (21, 22, 23)
        p[list(toes)] = p[ankle] + np.array([(0.02 * side, 0.05), (0.04 * side, 0.045), (0, 0.02)])
    p[[14, 15]] = p[0] + 0.022 * np.array([[-1], [1]]) * across + 0.02 * trunk
    p[[16, 17]] = p[0] + 0.048 * np.array([[-1], [1]]) * across + 0.01 * trunk
    ring = np.linspace(0, 2 * np.pi, FACE.stop - FACE.start, endpoint=False)
    p[FACE] = p[0] + 0.05 * np.stack([np.cos(ring), 1.2 * np.sin(ring)], axis=1)
    return np.asarray(p * build.height + build.feet)


def _hand(forearm: Array, side: int, length: float) -> Array:
    """21 points of an open hand along the forearm, as parts of the height."""
    across = side * np.array([-forearm[1], forearm[0]])
    points = [np.zeros(2)]
    for finger in range(5):
        spread = 0.35 * (finger - 2)
        direction = np.cos(spread) * forearm + np.sin(spread) * across
        points += [0.02 * length * (joint + 1) * direction for joint in range(4)]
    return np.array(points)
