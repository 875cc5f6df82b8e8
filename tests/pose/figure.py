"""A drawn person whose joints are known, human enough for the embedded networks to find."""

from __future__ import annotations

import cv2
import numpy as np

from pose import layout

SKIN, HAIR, SHIRT, TROUSERS, SHOES = (
    (224, 178, 150),
    (60, 42, 34),
    (150, 40, 44),
    (40, 52, 92),
    (30, 30, 30),
)
BACKGROUND = (186, 196, 204)

# Joints in heights of the person, (x, y) from the top middle; the person's right is on the left.
_JOINTS = {
    layout.NOSE: (0.0, 0.085),
    layout.NECK: (0.0, 0.185),
    layout.RIGHT_SHOULDER: (-0.105, 0.19),
    layout.LEFT_SHOULDER: (0.105, 0.19),
    layout.RIGHT_HIP: (-0.06, 0.50),
    layout.LEFT_HIP: (0.06, 0.50),
    layout.RIGHT_KNEE: (-0.075, 0.72),
    layout.LEFT_KNEE: (0.075, 0.72),
    layout.RIGHT_ANKLE: (-0.08, 0.94),
    layout.LEFT_ANKLE: (0.08, 0.94),
}
_UPPER_ARM, _FOREARM = 0.16, 0.15


def joints(centre: float, top: float, height: float, raised: float = 0.5) -> dict[int, np.ndarray]:
    """Joints in pixels by the layout's index, of a person with arms `raised` (0 down, 1 level)."""
    places = {joint: np.array(place) for joint, place in _JOINTS.items()}
    angle = raised * np.pi / 2
    for side, sign in (("RIGHT", -1), ("LEFT", 1)):
        reach = np.array([sign * np.sin(angle), np.cos(angle)])
        bent = np.array([sign * np.sin(angle * 0.9), np.cos(angle * 0.9)])
        elbow = places[getattr(layout, f"{side}_SHOULDER")] + _UPPER_ARM * reach
        places[getattr(layout, f"{side}_ELBOW")] = elbow
        places[getattr(layout, f"{side}_WRIST")] = elbow + _FOREARM * bent
    return {joint: np.array([centre, top]) + height * place for joint, place in places.items()}


def draw_person(
    picture: np.ndarray, centre: float, top: float, height: float, raised: float = 0.5
) -> None:
    """Draw the person into `picture` (H,W,3) uint8 RGB, in place."""
    at = joints(centre, top, height, raised)
    thick = height * 0.01

    def limb(one: int, other: int, width: float, colour: tuple[int, int, int]) -> None:
        _tube(picture, at[one], at[other], width * thick, colour)

    for side in ("RIGHT", "LEFT"):
        hip, knee, ankle = (getattr(layout, f"{side}_{part}") for part in ("HIP", "KNEE", "ANKLE"))
        limb(hip, knee, 8.5, TROUSERS)
        limb(knee, ankle, 6.5, TROUSERS)
        _tube(picture, at[ankle], at[ankle] + (0, 0.03 * height), 5.5 * thick, SHOES)
    torso = [at[i] for i in (2, 5, 11, 8)]
    cv2.fillPoly(picture, [np.array(torso, int)], SHIRT, cv2.LINE_AA)
    limb(layout.RIGHT_SHOULDER, layout.LEFT_SHOULDER, 6, SHIRT)
    limb(layout.RIGHT_HIP, layout.LEFT_HIP, 9, TROUSERS)
    for side in ("RIGHT", "LEFT"):
        shoulder, elbow, wrist = (
            getattr(layout, f"{side}_{part}") for part in ("SHOULDER", "ELBOW", "WRIST")
        )
        limb(shoulder, elbow, 6, SHIRT)
        limb(elbow, wrist, 4.5, SKIN)
        along = (at[wrist] - at[elbow]) / np.linalg.norm(at[wrist] - at[elbow])
        _tube(picture, at[wrist], at[wrist] + along * 0.045 * height, 4.5 * thick, SKIN)
    _tube(picture, at[layout.NECK], at[layout.NOSE], 5 * thick, SKIN)
    _head(picture, at[layout.NOSE], height)


def _tube(
    picture: np.ndarray,
    one: np.ndarray,
    other: np.ndarray,
    width: float,
    colour: tuple[int, int, int],
) -> None:
    """A limb, lighter along its middle."""
    ends = tuple(map(int, one)), tuple(map(int, other))
    for part, light in ((1.0, 0.78), (0.75, 0.9), (0.45, 1.0)):
        shade = tuple(int(level * light) for level in colour)
        cv2.line(picture, *ends, shade, max(1, int(width * part)), cv2.LINE_AA)


def _head(picture: np.ndarray, nose: np.ndarray, height: float) -> None:
    def oval(dx: float, dy: float, rx: float, ry: float, colour: tuple[int, int, int]) -> None:
        centre = tuple(int(v) for v in nose + np.array([dx, dy]) * height)
        axes = (max(1, int(rx * height)), max(1, int(ry * height)))
        cv2.ellipse(picture, centre, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)

    oval(0, -0.022, 0.052, 0.065, HAIR)
    oval(0, 0.0, 0.043, 0.06, tuple(int(v * 0.85) for v in SKIN))
    oval(0, 0.0, 0.038, 0.055, SKIN)
    for sign in (-1, 1):
        oval(sign * 0.016, -0.012, 0.008, 0.004, (250, 250, 250))
        oval(sign * 0.016, -0.012, 0.004, 0.004, HAIR)
        oval(sign * 0.016, -0.021, 0.010, 0.002, HAIR)
    oval(0, 0.006, 0.005, 0.004, tuple(int(v * 0.8) for v in SKIN))
    oval(0, 0.025, 0.014, 0.004, (176, 74, 74))


def scene(size: tuple[int, int], *people: tuple[float, ...]) -> np.ndarray:
    """A picture (H,W,3) of `size` (width, height) with people (centre, top, height, raised)."""
    width, height = size
    ramp = np.linspace(1.0, 0.8, height)[:, None, None]
    picture = (np.full((height, width, 3), BACKGROUND) * ramp).astype(np.uint8)
    for person in people:
        draw_person(picture, *person)
    return picture
