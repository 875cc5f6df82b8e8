"""A clothed character painted in one pose, from its farthest part to its nearest."""

from __future__ import annotations

import cv2
import numpy as np

from pose import layout
from scripts.tiny.characters.body import Body, Camera
from scripts.tiny.characters.head import paint_back_hair, paint_head, paint_locks
from scripts.tiny.characters.identity import Identity
from scripts.tiny.characters.paint import Painter, Place, capsule
from scripts.tiny.characters.textures import Picture, mean_colour, rounded


class Figure:
    """Paints one identity. Swatches are lit once."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        light, contrast = identity.light, identity.contrast
        self.skin = rounded(identity.skin, light, contrast)
        self.top = rounded(identity.top, light, 0.7 * contrast)
        self.sleeve = rounded(identity.sleeve_cloth, light, contrast)
        self.bottom = rounded(identity.bottom, light, contrast)
        sock = np.full_like(identity.skin, np.array(identity.socks, np.uint8))
        self.sock = rounded(sock, light, contrast)

    def paint(self, painter: Painter, body: Body, camera: Camera) -> None:
        """Add the figure to the picture."""
        joints = camera.project(body.points)
        size = camera.scale
        _paint_shadow(painter, joints, size)
        paint_back_hair(painter, self.identity, self.skin, body, camera)
        depth = body.points[:, 2]
        arms = [
            (layout.LEFT_SHOULDER, layout.LEFT_HAND, self.identity.build.arm_width),
            (layout.RIGHT_SHOULDER, layout.RIGHT_HAND, self.identity.build.arm_width),
        ]
        chest = depth[layout.NECK]
        behind = [arm for arm in arms if depth[arm[0] + 1 : arm[0] + 3].mean() < chest - 0.03]
        for arm in behind:
            self._arm(painter, joints, size, *arm)
        legs = sorted(
            (layout.LEFT_HIP, layout.RIGHT_HIP), key=lambda hip: depth[hip : hip + 3].sum()
        )
        for hip in legs:
            self._leg(painter, joints, size, hip)
        self._trunk(painter, joints, size, body)
        paint_head(painter, self.identity, self.skin, body, camera)
        paint_locks(painter, self.identity, body, camera)
        for arm in sorted(
            (arm for arm in arms if arm not in behind), key=lambda arm: depth[arm[0] + 2]
        ):
            self._arm(painter, joints, size, *arm)

    def _arm(self, painter: Painter, joints: Place, size: float, first: int, hand: slice,
             width: float) -> None:  # fmt: skip
        identity = self.identity
        shoulder, elbow, wrist = joints[first : first + 3]
        radius = width * size
        _paint_hand(painter, joints[hand], size, identity, self.skin)
        sleeve = identity.sleeve
        painter.limb(elbow, wrist, 0.85 * radius, 0.62 * radius, self.skin)
        if sleeve > 1:
            end = elbow + (sleeve - 1) * (wrist - elbow)
            painter.limb(elbow, end, 0.98 * radius, 0.85 * radius, self.sleeve)
        painter.limb(shoulder, elbow, radius, 0.85 * radius, self.skin)
        if sleeve > 0:
            end = shoulder + min(sleeve, 1) * (elbow - shoulder)
            painter.limb(shoulder, end, 1.14 * radius, 1.08 * radius, self.sleeve)

    def _leg(self, painter: Painter, joints: Place, size: float, hip_index: int) -> None:
        identity = self.identity
        hip, knee, ankle = joints[hip_index : hip_index + 3]
        toe = layout.LEFT_BIG_TOE if hip_index == layout.LEFT_HIP else layout.RIGHT_BIG_TOE
        thigh, calf = identity.build.leg_width * size, 0.62 * identity.build.leg_width * size
        painter.limb(knee, ankle, 0.72 * thigh, 0.6 * calf, self.skin)
        if identity.sock_height > 0:
            start = ankle + min(identity.sock_height, 1) * (knee - ankle)
            painter.limb(start, ankle, 0.75 * thigh, 0.65 * calf, self.sock)
        heel, front = joints[toe + 2], (joints[toe] + joints[toe + 1]) / 2
        painter.fill(capsule(heel, front, 0.62 * calf, 0.55 * calf), identity.shoes)
        painter.limb(hip, knee, thigh, 0.72 * thigh, self.skin)
        if identity.sock_height > 1:
            start = knee + (identity.sock_height - 1) * (hip - knee)
            painter.limb(start, knee, 0.9 * thigh, 0.77 * thigh, self.sock)
        if identity.outfit in ("trousers", "shorts"):
            if identity.hem > 1:
                end = knee + (identity.hem - 1) * (ankle - knee)
                painter.limb(knee, end, 0.86 * thigh, 0.95 * calf, self.bottom)
            end = hip + min(identity.hem, 1) * (knee - hip)
            painter.limb(hip, end, 1.08 * thigh, 0.9 * thigh, self.bottom)

    def _trunk(self, painter: Painter, joints: Place, size: float, body: Body) -> None:
        identity, build = self.identity, self.identity.build
        neck = (joints[layout.LEFT_SHOULDER] + joints[layout.RIGHT_SHOULDER]) / 2
        hips = (joints[layout.LEFT_HIP] + joints[layout.RIGHT_HIP]) / 2
        down = (hips - neck) / max(float(np.hypot(*(hips - neck))), 1e-3)
        side = np.array([-down[1], down[0]])
        if side[0] < 0:
            side = -side
        narrow = float(np.hypot(np.cos(body.yaw), 0.6 * np.sin(body.yaw)))
        if identity.outfit in ("trousers", "shorts"):
            self._seat(painter, joints, size)
        elif identity.outfit == "skirt":
            self._skirt(painter, joints, size, neck, hips, side, narrow)
        shoulder = (build.shoulders + 0.6 * build.arm_width) * size * narrow
        rows = (
            (-0.012, 0.45 * shoulder),
            (0.012, 0.97 * shoulder),
            (0.05, 1.02 * build.chest * size * narrow),
            (0.6 * build.torso, build.waist * size * narrow),
            (1.04 * build.torso, (build.hips + 0.95 * build.leg_width) * size * narrow),
        )
        left = [neck + along * size * down + wide * side for along, wide in rows]
        right = [neck + along * size * down - wide * side for along, wide in reversed(rows)]
        painter.drape(
            np.array(left + right),
            self.top,
            neck,
            -side * shoulder,
            down * 1.1 * build.torso * size,
        )
        if "dress" in identity.outfit:
            self._skirt(painter, joints, size, neck, hips, side, narrow)
        self._collar(painter, size, neck, down, side, narrow)
        if identity.badge is not None and abs(body.yaw) < 0.9:
            across, along, radius, tint = identity.badge
            middle = neck + size * (
                along * down + (across * np.cos(body.yaw) + 0.06 * np.sin(body.yaw)) * side
            )
            outline = [
                middle + radius * size * (np.cos(t) * side * narrow + np.sin(t) * down)
                for t in np.linspace(0, 2 * np.pi, 16, endpoint=False)
            ]
            painter.fill(np.array(outline), tint)

    def _seat(self, painter: Painter, joints: Place, size: float) -> None:
        radius = 1.05 * self.identity.build.leg_width * size
        left, right = joints[layout.LEFT_HIP], joints[layout.RIGHT_HIP]
        painter.fill(capsule(left, right, radius, radius), mean_colour(self.bottom))

    def _collar(self, painter: Painter, size: float, neck: Place, down: Place, side: Place,
                narrow: float) -> None:  # fmt: skip
        """The neck, and skin down to the neckline."""
        build, depth = self.identity.build, self.identity.neckline
        wide = 0.55 * build.shoulders * size * narrow
        throat = 0.5 * build.head * size
        base = neck - 0.014 * size * down
        outline = [base - wide * side, neck + depth * size * down, base + wide * side]
        painter.drape(np.array(outline), self.skin, base, side * wide, down * 0.1 * size)
        top = neck - (build.neck + 0.3 * build.head) * size * down
        painter.limb(top, neck, 0.85 * throat, throat, self.skin)

    def _skirt(self, painter: Painter, joints: Place, size: float, neck: Place, hips: Place,
               side: Place, narrow: float) -> None:  # fmt: skip
        """From the waist over the hips to a hem that hangs from both thighs."""
        identity, build = self.identity, self.identity.build
        down = (hips - neck) / max(float(np.hypot(*(hips - neck))), 1e-3)
        waist = neck + 0.62 * (hips - neck)
        ends = []
        for hip in (layout.RIGHT_HIP, layout.LEFT_HIP):
            joint, knee, ankle = joints[hip : hip + 3]
            over = max(identity.hem - 1, 0)
            ends.append(joint + min(identity.hem, 1) * (knee - joint) + over * (ankle - knee))
        if ends[0] @ side > ends[1] @ side:
            ends.reverse()
        wide = (build.hips + build.leg_width) * size * narrow
        extra = (identity.flare - 1) * wide + build.leg_width * size
        right, left = ends[0] - extra * side, ends[1] + extra * side
        waist_wide = 1.02 * build.waist * size * narrow
        middle = (ends[0] + ends[1]) / 2 + 0.015 * size * down
        outline = [
            waist - waist_wide * side, hips - 1.02 * wide * side, right, middle, left,
            hips + 1.02 * wide * side, waist + waist_wide * side,
        ]  # fmt: skip
        reach = (right + left) / 2 - waist
        painter.drape(np.array(outline), self.bottom, waist, (left - right) / -2, reach)


def _paint_shadow(painter: Painter, joints: Place, size: float) -> None:
    """Darken the floor below the feet; it is no part of the figure."""
    feet = joints[layout.FEET]
    middle, half = feet.mean(0), np.ptp(feet[:, 0]) / 2 + 0.04 * size
    height, width = painter.picture.shape[:2]
    top, bottom = int(middle[1] - 0.03 * size), int(middle[1] + 0.05 * size)
    left, right = int(middle[0] - 1.3 * half), int(middle[0] + 1.3 * half)
    top, bottom = max(top, 0), min(bottom, height)
    left, right = max(left, 0), min(right, width)
    if bottom - top < 2 or right - left < 2:
        return
    y, x = np.mgrid[-1 : 1 : (bottom - top) * 1j, -1 : 1 : (right - left) * 1j]
    shade = 1 - 0.45 * np.clip(1 - (x**2 + y**2), 0, 1)
    area = painter.picture[top:bottom, left:right]
    area[:] = (area * shade[..., None]).astype(np.uint8)


def _paint_hand(
    painter: Painter, hand: Place, size: float, identity: Identity, skin: Picture
) -> None:
    red, green, blue = mean_colour(skin)
    width = 0.17 * identity.build.hand * size
    palm = cv2.convexHull(hand[[0, 1, 5, 9, 13, 17]].astype(np.float32))[:, 0].astype(np.float64)
    centre = hand[[0, 1, 5, 9, 13, 17]].mean(0)
    painter.fill(centre + (palm - centre) * 1.12, (red, green, blue))
    for finger in range(5):
        shade = 1.0 - 0.05 * (finger % 2)
        joints = hand[4 * finger + 1 : 4 * finger + 5]
        painter.line(joints, width, (shade * red, shade * green, shade * blue))
