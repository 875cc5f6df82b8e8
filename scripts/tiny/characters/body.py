"""From angles to the 134 points: an articulated body in space, seen by a camera.

Space: x to the right of the picture, y down, z towards the camera, in body heights, the origin
between the hips. A character that faces the camera has its left at positive x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pose import layout
from scripts.tiny.characters.identity import Identity
from scripts.tiny.characters.motion import Pose

Points = NDArray[np.float64]

# How much nearer things look larger: scale = 1 + PERSPECTIVE * z.
PERSPECTIVE = 0.18


@dataclass(frozen=True, kw_only=True)
class Body:
    """One pose in space."""

    points: Points
    """(134,3)."""
    hips: Points
    """(3,) point between the hips."""
    head: Points
    """(3,) middle of the head."""
    head_frame: Points
    """(3,3): columns are the head's right-of-picture, down and forward directions."""
    yaw: float
    """Turn of the chest about the vertical; 0 faces the camera."""
    facing: float
    """Turn of the head, likewise."""


def _turn(yaw: float) -> Points:
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _nod(pitch: float) -> Points:
    c, s = np.cos(pitch), np.sin(pitch)
    return np.array([[1, 0, 0], [0, c, s], [0, -s, c]])


def _tilt(roll: float) -> Points:
    c, s = np.cos(roll), np.sin(roll)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _direction(side: float, outward: float, forward: float) -> Points:
    """Unit vector of a limb that hangs down at angles 0; `side` is 1 for the left."""
    across = side * np.sin(outward) * np.cos(forward)
    return np.array([across, np.cos(outward) * np.cos(forward), np.sin(forward)])


def pose_body(identity: Identity, pose: Pose) -> Body:
    """Place all joints of a character for one set of angles."""
    build = identity.build
    points = np.zeros((layout.POINTS, 3))
    hips = np.array([pose["x"], pose["y"], 0.0])
    pelvis = _tilt(0.5 * pose["lean"]) @ _turn(pose["yaw"])
    trunk = _tilt(pose["lean"]) @ _turn(pose["yaw"] + pose["twist"]) @ _nod(pose["bend"])
    neck = hips + trunk @ np.array([0, -build.torso, 0])
    points[layout.NECK] = neck
    for side, name in ((1.0, "left_"), (-1.0, "right_")):
        angles = {key.removeprefix(name): value for key, value in pose.items() if name in key}
        shoulder = neck + trunk @ np.array([side * build.shoulders, 0.012, 0])
        _place_arm(points, identity, angles, side, shoulder, trunk)
        hip = hips + pelvis @ np.array([side * build.hips, 0, 0])
        _place_leg(points, identity, angles, side, hip, pelvis)
    # The neck of a skeleton is the mean of the shoulders, as estimators define it.
    points[layout.NECK] = (points[layout.LEFT_SHOULDER] + points[layout.RIGHT_SHOULDER]) / 2
    facing = 0.8 * (pose["yaw"] + pose["twist"]) + pose["head_yaw"]
    frame = _tilt(pose["lean"] + pose["head_roll"]) @ _turn(facing) @ _nod(pose["head_pitch"])
    head = neck + trunk @ np.array([0, -build.neck, 0.01]) + frame @ np.array([0, -build.head, 0])
    _place_head(points, identity, pose, head, frame)
    return Body(
        points=points,
        hips=hips,
        head=head,
        head_frame=frame,
        yaw=pose["yaw"] + pose["twist"],
        facing=facing,
    )


def _place_arm(
    points: Points, identity: Identity, angles: Pose, side: float, shoulder: Points, trunk: Points
) -> None:
    build = identity.build
    first = layout.LEFT_SHOULDER if side > 0 else layout.RIGHT_SHOULDER
    upper = trunk @ _direction(side, angles["arm_a"], angles["arm_f"])
    lower = trunk @ _direction(
        side, angles["arm_a"] + angles["elbow_a"], angles["arm_f"] + angles["elbow_f"]
    )
    elbow = shoulder + build.upper_arm * upper
    wrist = elbow + build.forearm * lower
    points[first : first + 3] = shoulder, elbow, wrist
    hand = layout.LEFT_HAND if side > 0 else layout.RIGHT_HAND
    along = trunk @ _direction(
        side,
        angles["arm_a"] + angles["elbow_a"] + angles["wrist"],
        angles["arm_f"] + angles["elbow_f"],
    )
    points[hand] = _hand(wrist, along, side, angles["palm"], angles["curl"], build.hand)


def _hand(
    wrist: Points, along: Points, side: float, palm: float, curl: float, length: float
) -> Points:
    """21 points: the wrist, then thumb to little finger from the palm outwards."""
    across = np.cross(along, np.array([0.0, 0.0, 1.0]))
    norm = np.linalg.norm(across)
    across = across / norm if norm > 1e-3 else np.array([1.0, 0.0, 0.0])
    normal = np.cross(along, across)
    across = across * np.cos(palm) + normal * np.sin(palm)
    normal = np.cross(along, across)
    points = np.zeros((21, 3))
    points[0] = wrist
    for finger in range(5):
        thumb = finger == 0
        offset = side * (0.22 if thumb else 0.16 - 0.105 * (finger - 1))
        position = wrist + length * ((0.16 if thumb else 0.5) * along + offset * across)
        size = length * (0.17 if thumb else 0.17 - 0.02 * abs(finger - 2))
        bend = 0.5 * curl if thumb else 0.3 * curl
        spread = side * (0.8 if thumb else 0.12 * (2 - finger))
        points[4 * finger + 1] = position
        for joint in range(3):
            heading = np.cos(spread) * along + np.sin(spread) * across
            heading = np.cos(bend) * heading + np.sin(bend) * normal
            position = position + size * heading
            points[4 * finger + 2 + joint] = position
            size *= 0.82
            bend += 0.35 * curl if thumb else 0.75 * curl
    return points


def _place_leg(
    points: Points, identity: Identity, angles: Pose, side: float, hip: Points, pelvis: Points
) -> None:
    build = identity.build
    first = layout.LEFT_HIP if side > 0 else layout.RIGHT_HIP
    upper = pelvis @ _direction(side, angles["hip_a"], angles["hip_f"])
    lower = pelvis @ _direction(side, 0.8 * angles["hip_a"], angles["hip_f"] - angles["knee"])
    knee = hip + build.upper_leg * upper
    ankle = knee + build.lower_leg * lower
    points[first : first + 3] = hip, knee, ankle
    toe = layout.LEFT_BIG_TOE if side > 0 else layout.RIGHT_BIG_TOE
    ahead = pelvis @ np.array([0.35 * side, 0.25, 0.9])
    across = pelvis @ np.array([side, 0, -0.3])
    sole = ankle + np.array([0, 0.03, 0])
    points[toe] = sole + build.foot * ahead
    points[toe + 1] = sole + build.foot * (0.8 * ahead + 0.35 * across)
    points[toe + 2] = sole - 0.3 * build.foot * ahead


def _arc(count: int, start: float, stop: float) -> Points:
    return np.linspace(start, stop, count)


def _face_template(identity: Identity, mouth: float, blink: float) -> Points:
    """68 points (x right, y down, z forward) of a head whose half height is 1."""
    turn = _arc(17, 0, np.pi)
    jaw = np.stack([-0.7 * np.cos(turn), 0.92 * np.sin(turn), 0.45 * np.sin(turn)], 1)
    parts = [jaw]
    brow = _arc(5, 0, 1)
    for start in (-0.52, 0.14):
        lift = -0.3 - 0.07 * np.sin(np.pi * brow)
        parts.append(np.stack([start + 0.38 * brow, lift, np.full(5, 0.62)], 1))
    down = _arc(4, -0.1, 0.26)
    parts.append(np.stack([0 * down, down, _arc(4, 0.7, 0.95)], 1))
    parts.append(np.stack([_arc(5, -0.14, 0.14), np.full(5, 0.35), np.full(5, 0.76)], 1))
    opened = 0.055 * identity.eye_size * (1 - 0.9 * blink)
    ring = np.pi * np.array([1.0, 0.68, 0.32, 0.0, -0.32, -0.68])
    for centre in (-0.32, 0.32):
        x = centre + 0.14 * np.cos(ring)
        parts.append(np.stack([x, -0.06 - opened * np.sin(ring), np.full(6, 0.62)], 1))
    outer = np.pi * (1 - np.arange(12) / 6)
    inner = np.pi * (1 - np.arange(8) / 4)
    for angle, wide, tall in ((outer, 0.24, 0.07), (inner, 0.17, 0.015)):
        y = 0.58 - (tall + 0.1 * mouth) * np.sin(angle)
        parts.append(np.stack([wide * np.cos(angle), y, np.full(len(angle), 0.72)], 1))
    return np.concatenate(parts)


def _place_head(
    points: Points, identity: Identity, pose: Pose, head: Points, frame: Points
) -> None:
    face = _face_template(identity, pose["mouth"], pose["blink"])
    face = head + identity.build.head * face @ frame.T
    points[layout.FACE] = face
    points[layout.NOSE] = face[30]
    points[layout.RIGHT_EYE] = face[36:42].mean(0)
    points[layout.LEFT_EYE] = face[42:48].mean(0)
    ears = np.array([[-0.76, 0.02, -0.05], [0.76, 0.02, -0.05]])
    points[layout.RIGHT_EAR], points[layout.LEFT_EAR] = head + identity.build.head * ears @ frame.T


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Position of the hips in the picture and size of a body height, in pixels."""

    centre: tuple[float, float]
    scale: float

    def project(self, points: Points) -> Points:
        """Pixels (...,2) of points (...,3)."""
        nearer = 1 + PERSPECTIVE * points[..., 2:3]
        return np.array(self.centre) + self.scale * nearer * points[..., :2]
