"""A character's head: skull, hair and face, turned as the body's frame says."""

from __future__ import annotations

import numpy as np

from pose import layout
from scripts.tiny.characters.body import Body, Camera
from scripts.tiny.characters.identity import Identity
from scripts.tiny.characters.paint import Painter, Place, capsule, oval
from scripts.tiny.characters.textures import Colour, Picture


def _on_head(body: Body, camera: Camera, identity: Identity, points: list[list[float]]) -> Place:
    """Pixels of points given in half head heights (x right, y down, z forward)."""
    space = body.head + identity.build.head * np.array(points) @ body.head_frame.T
    return camera.project(space)


def _axes(body: Body, camera: Camera, identity: Identity) -> tuple[Place, Place, float]:
    """Unit vectors across and down the head in the picture, and its half height in pixels."""
    size = identity.build.head * camera.scale
    down = body.head_frame[:2, 1]
    down = down / max(float(np.hypot(*down)), 1e-3)
    return np.array([down[1], -down[0]]), down, size


def paint_back_hair(
    painter: Painter, identity: Identity, skin: Picture, body: Body, camera: Camera
) -> None:
    """Hair that falls or stands behind the neck and trunk."""
    across, down, size = _axes(body, camera, identity)
    back = _on_head(body, camera, identity, [[0, -0.1, -0.25]])[0]
    if identity.hair_style in ("long", "bob"):
        drop = (
            0.95 * size
            if identity.hair_style == "bob"
            else 0.6 * size + identity.hair_length * camera.scale
        )
        # Long hair hangs; it does not stay in line with a tilted head.
        hang = (0.4 if identity.hair_style == "long" else 0.8) * down + (
            np.array([0, 0.6]) if identity.hair_style == "long" else np.array([0, 0.2])
        )
        hang = hang / np.hypot(*hang)
        outline = capsule(back, back + drop * hang, 1.0 * size, 0.85 * size)
        painter.drape(outline, identity.hair, back - size * down, across * size, down * 2 * drop)
    elif identity.hair_style == "tail":
        root = _on_head(body, camera, identity, [[0, -0.5, -0.8]])[0]
        tip = (
            root
            + np.array([0.3 * size * np.sign(body.facing or 1.0), 0.8 * size])
            + (0.6 * identity.hair_length * camera.scale * np.array([0, 1]))
        )
        painter.limb(root, tip, 0.35 * size, 0.15 * size, identity.hair)
    elif identity.hair_style == "bun":
        tie = _on_head(body, camera, identity, [[0, -1.15, -0.4]])[0]
        painter.drape(
            oval(tie, across * 0.45 * size, down * 0.42 * size), identity.hair, tie,
            across * 0.5 * size, down * size,
        )  # fmt: skip


def paint_head(
    painter: Painter, identity: Identity, skin: Picture, body: Body, camera: Camera
) -> None:
    """Skull, hair, ears, face and hat."""
    across, down, size = _axes(body, camera, identity)
    centre = camera.project(body.head)
    turned = float(abs(body.head_frame[0, 2]))
    if identity.hair_style != "bald":
        skull = _on_head(body, camera, identity, [[0, -0.12, -0.15]])[0]
        wide = (0.82 + 0.12 * turned) * size
        painter.drape(
            oval(skull, across * wide, down * 0.98 * size), identity.hair, skull - down * size,
            across * wide, down * 2 * size,
        )  # fmt: skip
    ears = _on_head(body, camera, identity, [[-0.74, 0.05, 0.0], [0.74, 0.05, 0.0]])
    tint = _scaled(identity.skin_colour, 0.9)
    if identity.hair_style in ("bald", "short", "bun", "tail", "hat"):
        for ear in ears:
            painter.fill(oval(ear, across * 0.13 * size, down * 0.2 * size, 10), tint)
    face = _on_head(body, camera, identity, [[0, 0.08, 0.18]])[0]
    if identity.hair_style == "bald":
        face = centre
    wide, tall = (
        (0.7 + 0.08 * turned) * size,
        (0.86 if identity.hair_style != "bald" else 0.95) * size,
    )
    # A jaw is narrower than a forehead.
    outline = oval(face, across * wide, down * tall)
    lower = np.clip((outline - face) @ down / tall, 0, 1)[:, None]
    outline = outline - ((outline - face) @ across)[:, None] * across * 0.22 * lower
    painter.drape(outline, skin, face - down * tall, across * wide, down * 2 * tall)
    _paint_features(painter, identity, body, camera, size)
    if identity.hair_style not in ("bald", "hat"):
        _paint_fringe(painter, identity, body, camera)
    if identity.hair_style == "hat":
        _paint_hat(painter, identity, body, camera)


def _scaled(tint: Colour, factor: float) -> Colour:
    return (factor * tint[0], factor * tint[1], factor * tint[2])


def _paint_features(
    painter: Painter, identity: Identity, body: Body, camera: Camera, size: float
) -> None:
    face = camera.project(body.points[layout.FACE])
    facing = body.head_frame[2, 2]
    if facing < 0.15:
        return
    hair = (
        _scaled(identity.hair_colour, 0.7) if identity.hair_style != "bald" else (60.0, 45.0, 40.0)
    )
    for eye, brow, side in ((slice(36, 42), slice(17, 22), -1), (slice(42, 48), slice(22, 27), 1)):
        # The far eye of a turned head is hidden by the nose.
        if side * body.head_frame[0, 2] > 0.75:
            continue
        painter.line(face[brow], 0.09 * size, hair)
        painter.fill(face[eye], (245.0, 245.0, 245.0))
        middle = face[eye].mean(0)
        open_eye = np.ptp(face[eye][:, 1]) > 0.05 * size
        if open_eye:
            iris = 0.085 * size * min(identity.eye_size, 1.3)
            painter.fill(oval(middle, np.array([iris, 0]), np.array([0, iris]), 10), identity.eyes)
        upper = face[eye][:4]
        painter.line(upper, 0.055 * size, (35.0, 25.0, 25.0))
    painter.line(face[29:31], 0.05 * size, _scaled(identity.skin_colour, 0.88))
    painter.line(face[31:36], 0.05 * size, _scaled(identity.skin_colour, 0.72))
    painter.fill(face[48:60], identity.lips)
    if np.ptp(face[60:68][:, 1]) > 0.06 * size:
        painter.fill(face[60:68], _scaled(identity.lips, 0.35))


def _paint_fringe(painter: Painter, identity: Identity, body: Body, camera: Camera) -> None:
    """Hair over the forehead, and at both sides of a long-haired face."""
    low = -0.55 + identity.fringe
    turn = np.linspace(np.pi, 2 * np.pi, 11)
    top = [[0.8 * np.cos(t), 0.35 + 1.2 * np.sin(t) - 0.1, 0.3] for t in turn]
    under = [[0.66 - 0.22 * k, low + 0.12 * (k % 2) - 0.08 * abs(k - 3), 0.6] for k in range(7)]
    outline = _on_head(body, camera, identity, top + under)
    across, down, size = _axes(body, camera, identity)
    painter.drape(outline, identity.hair, outline[5], across * size, down * 2 * size)


def _paint_hat(painter: Painter, identity: Identity, body: Body, camera: Camera) -> None:
    turn = np.linspace(np.pi, 2 * np.pi, 13)
    dome = [[0.88 * np.cos(t), -0.3 + 0.85 * np.sin(t), 0.1] for t in turn]
    painter.fill(_on_head(body, camera, identity, dome), _scaled(identity.shoes, 0.9))
    brim = [[-0.75, -0.35, 0.5], [0.75, -0.35, 0.5], [0.6, -0.2, 1.1], [-0.6, -0.2, 1.1]]
    painter.fill(_on_head(body, camera, identity, brim), _scaled(identity.shoes, 0.7))


def paint_locks(painter: Painter, identity: Identity, body: Body, camera: Camera) -> None:
    """Long hair that falls over the shoulders, in front."""
    if identity.hair_style != "long" or not identity.hair_in_front:
        return
    size = identity.build.head * camera.scale
    for side in (-1.0, 1.0):
        if side * body.head_frame[0, 2] > 0.5:
            continue
        root = _on_head(body, camera, identity, [[side * 0.74, -0.1, 0.1]])[0]
        tip = root + np.array(
            [side * 0.12 * size, 0.8 * size + 0.8 * identity.hair_length * camera.scale]
        )
        painter.limb(root, tip, 0.2 * size, 0.24 * size, identity.hair)
