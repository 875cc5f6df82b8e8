"""Clips of procedural characters whose poses are known exactly.

A seed decides everything: who, where, how they move, the camera. Frames are (h,w,3) uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pose import layout
from scripts.tiny.characters.backgrounds import background
from scripts.tiny.characters.body import Body, Camera, pose_body
from scripts.tiny.characters.figure import Figure
from scripts.tiny.characters.identity import Identity, draw_identity
from scripts.tiny.characters.motion import Motion, Pose
from scripts.tiny.characters.paint import Painter
from scripts.tiny.characters.textures import Picture

# Painted this much larger, then averaged down.
_OVERSAMPLE = 2


@dataclass(frozen=True, kw_only=True)
class Take:
    """One rendered clip and everything that is known about it. F frames of h x w pixels."""

    reference: Picture
    """(h,w,3): the same character in another pose."""
    reference_points: NDArray[np.float32]
    """(134,2) in pixels of the frame."""
    reference_scores: NDArray[np.float32]
    """(134,) 1 = can be seen, 0 = cannot."""
    frames: NDArray[np.uint8]
    """(F,h,w,3)."""
    points: NDArray[np.float32]
    """(F,134,2)."""
    scores: NDArray[np.float32]
    """(F,134)."""
    masks: NDArray[np.uint8]
    """(F,h,w): how much of a pixel the figure covers, 0 to 255."""
    background: Picture
    """(h,w,3): the place without the figure."""


class Character:
    """A character in a place before a camera: paints any pose of it."""

    def __init__(
        self,
        seed: int,
        size: tuple[int, int],
        shot: str | None = None,
        *,
        dress: Callable[[Identity], Identity] | None = None,
        scene: Callable[[tuple[int, int]], Picture] | None = None,
    ) -> None:
        """`size` is (width, height); `shot` is "full", "knees" or "waist", drawn when None.

        dress: changes the identity that was drawn
        scene: paints the background of a size (width, height); drawn when None
        """
        rng = np.random.default_rng([seed, 1])
        self.size = size
        identity = draw_identity(rng)
        self.identity = identity if dress is None else dress(identity)
        self.figure = Figure(self.identity)
        self.camera = _camera(rng, self.identity.build.torso, size, shot)
        large = (size[0] * _OVERSAMPLE, size[1] * _OVERSAMPLE)
        self.scene = background(rng, large) if scene is None else scene(large)
        self.grade = _grade(rng)
        self.background = self._finish(self.scene)

    def paint(
        self, pose: Pose
    ) -> tuple[Picture, NDArray[np.float32], NDArray[np.float32], Picture]:
        """Frame (h,w,3), points (134,2), scores (134,) and mask (h,w) of one pose."""
        body = pose_body(self.identity, pose)
        painter = Painter(self.scene)
        large = Camera(
            centre=(self.camera.centre[0] * _OVERSAMPLE, self.camera.centre[1] * _OVERSAMPLE),
            scale=self.camera.scale * _OVERSAMPLE,
        )
        self.figure.paint(painter, body, large)
        points = self.camera.project(body.points).astype(np.float32)
        mask = cv2.resize(painter.mask, self.size, interpolation=cv2.INTER_AREA)
        return (
            self._finish(painter.picture),
            points,
            _visible(body, points, self.size),
            np.asarray(mask, np.uint8),
        )

    def _finish(self, picture: Picture) -> Picture:
        small = cv2.resize(picture, self.size, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.LUT(small, self.grade), np.uint8)


def render_clip(
    seed: int,
    frames: int,
    size: tuple[int, int],
    *,
    motion_seed: int | None = None,
    shot: str | None = None,
    speed: float | None = None,
) -> Take:
    """Render `frames` frames of the character `seed` at `size` (width, height).

    `motion_seed` chooses the motion (by default it belongs to the character), `shot` how much of
    the body is seen ("full", "knees", "waist"), `speed` the motion's cycles a frame.
    """
    character = Character(seed, size, shot)
    rng = np.random.default_rng([seed if motion_seed is None else motion_seed, 2])
    motion, reference_motion = Motion(rng), Motion(rng)
    if speed is not None:
        motion.speed = speed
    still, still_points, still_scores, _ = character.paint(
        reference_motion.at(float(rng.uniform(0, 50)))
    )
    painted = [character.paint(motion.at(frame)) for frame in range(frames)]
    return Take(
        reference=still,
        reference_points=still_points,
        reference_scores=still_scores,
        frames=np.stack([frame for frame, _, _, _ in painted]),
        points=np.stack([points for _, points, _, _ in painted]),
        scores=np.stack([scores for _, _, scores, _ in painted]),
        masks=np.stack([mask for _, _, _, mask in painted]),
        background=character.background,
    )


def _camera(rng: Generator, torso: float, size: tuple[int, int], shot: str | None) -> Camera:
    """The part of the body that is in the picture, and its position."""
    width, height = size
    upright = height >= width
    chances = (0.45, 0.35, 0.2) if upright else (0.3, 0.3, 0.4)
    drawn = ("full", "knees", "waist")[int(rng.choice(3, p=chances))]
    chosen = shot or drawn
    seen = {"full": (0.78, 0.95), "knees": (1.0, 1.4), "waist": (1.45, 2.1)}[chosen]
    scale = float(rng.uniform(*seen)) * height
    scale = min(scale, 1.9 * width if upright else 2.4 * height)
    # The crown of the head is about 0.47 body heights above the hips.
    crown = float(rng.uniform(0.03, 0.14)) * height
    if chosen == "full":
        crown = float(rng.uniform(0.3, 0.7)) * max(height - 1.03 * scale, 0.04 * height)
    above = torso + 0.2
    side = width / 2 + float(rng.uniform(-0.12, 0.12)) * width
    return Camera(centre=(side, crown + above * scale), scale=scale)


def _grade(rng: Generator) -> NDArray[np.uint8]:
    """Look-up table (256,1,3): exposure, contrast and a cast of colour."""
    level = np.linspace(0, 1, 256)[:, None]
    gain = rng.uniform(0.8, 1.1) * rng.uniform(0.92, 1.08, 3)
    curve = np.clip(level * gain, 0, 1) ** rng.uniform(0.8, 1.3)
    lift = rng.uniform(0, 0.06)
    return np.round(255 * (lift + (1 - lift) * curve)).astype(np.uint8)[:, None]


def _visible(body: Body, points: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """1 for points that an estimator could see: in the picture, and not behind the head."""
    seen = np.logical_and(points >= 0, points < np.array(size))
    inside = np.asarray(seen[:, 0] & seen[:, 1], np.float32)
    turned = float(body.head_frame[0, 2])
    if turned > 0.45:
        inside[layout.LEFT_EAR] = 0
    if turned < -0.45:
        inside[layout.RIGHT_EAR] = 0
    if float(body.head_frame[2, 2]) < 0.3:
        inside[layout.FACE] = 0
    return inside
