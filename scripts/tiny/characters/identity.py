"""Who a character is: proportions, skin, hair and clothes, all from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from scripts.tiny.characters.textures import Colour, Picture, colour, fabric, skin, strands

_SKINS: tuple[Colour, ...] = (
    (255, 226, 205), (250, 214, 180), (241, 194, 125), (224, 172, 125), (198, 134, 86),
    (141, 85, 46), (92, 58, 38),
)  # fmt: skip
_HAIRS: tuple[Colour, ...] = (
    (25, 22, 22), (50, 32, 24), (95, 60, 30), (205, 170, 95), (165, 75, 35), (170, 170, 172),
)  # fmt: skip

HAIR_STYLES = ("bald", "short", "bob", "long", "tail", "bun", "hat")
OUTFITS = ("trousers", "shorts", "skirt", "dress", "long dress")


@dataclass(frozen=True, kw_only=True)
class Build:
    """Lengths and widths in body heights."""

    torso: float
    """Hip centre to neck."""
    upper_leg: float
    lower_leg: float
    upper_arm: float
    forearm: float
    hand: float
    foot: float
    shoulders: float
    """Half the distance between the shoulder joints."""
    hips: float
    """Half the distance between the hip joints."""
    waist: float
    """Half the width of the waist."""
    chest: float
    """Half the width below the shoulders."""
    neck: float
    head: float
    """Half the head's height."""
    arm_width: float
    """Radius of the arm at the shoulder."""
    leg_width: float
    """Radius of the thigh."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """One character. Swatches are (96,96,3) RGB."""

    build: Build
    skin_colour: Colour
    skin: Picture
    hair_colour: Colour
    hair: Picture
    hair_style: str
    fringe: float
    """Length of hair down the forehead, in half head heights."""
    hair_length: float
    """Length of long hair, in body heights."""
    hair_in_front: bool
    """True for long hair that falls over the shoulders."""
    eyes: Colour
    lips: Colour
    eye_size: float
    top: Picture
    sleeve: float
    """0 = none, 1 = to the elbow, 2 = to the wrist."""
    sleeve_cloth: Picture
    neckline: float
    """Depth of the collar in body heights."""
    badge: tuple[float, float, float, Colour] | None
    """Across, along (of the chest, in body heights), radius and colour of a print, or none."""
    bottom: Picture
    outfit: str
    hem: float
    """Lower end of trousers, shorts or skirt: 1 = knee, 2 = ankle."""
    flare: float
    """Width of a skirt's hem beyond the hips'."""
    socks: Colour
    sock_height: float
    """0 = ankle, 1 = knee, above = over the knee."""
    shoes: Colour
    light: float
    """Direction of the light: -1 = left of the picture, 1 = right."""
    contrast: float
    """Darkness of a limb's far side, in [0,1]."""


def _build(rng: Generator) -> Build:
    u = rng.uniform
    head = u(0.062, 0.092)
    width = u(0.8, 1.2)
    leg = u(0.225, 0.265)
    arm = u(0.155, 0.18)
    shoulders = u(0.088, 0.112) * (0.7 + 0.3 * width)
    return Build(
        torso=u(0.275, 0.315),
        upper_leg=leg,
        lower_leg=leg * u(0.92, 1.05),
        upper_arm=arm,
        forearm=arm * u(0.85, 1.0),
        hand=u(0.085, 0.11),
        foot=u(0.05, 0.07),
        shoulders=shoulders,
        hips=u(0.045, 0.062),
        waist=u(0.062, 0.095) * width,
        chest=shoulders * u(0.85, 1.0),
        neck=u(0.03, 0.05),
        head=head,
        arm_width=u(0.02, 0.032) * width,
        leg_width=u(0.036, 0.055) * width,
    )


def _hair_colour(rng: Generator) -> Colour:
    if rng.uniform() < 0.3:
        return colour(rng, (0.3, 0.9), (0.4, 1.0))
    base = np.array(_HAIRS[int(rng.integers(len(_HAIRS)))]) * rng.uniform(0.8, 1.2)
    return (float(base[0]), float(base[1]), float(base[2]))


def _hem(rng: Generator, outfit: str) -> float:
    ranges = {
        "trousers": (1.7, 2.0),
        "shorts": (0.35, 1.1),
        "skirt": (0.45, 1.3),
        "dress": (0.4, 1.2),
        "long dress": (1.3, 1.9),
    }
    return float(rng.uniform(*ranges[outfit]))


def _badge(rng: Generator) -> tuple[float, float, float, Colour] | None:
    if rng.uniform() > 0.35:
        return None
    across, along = float(rng.uniform(-0.03, 0.03)), float(rng.uniform(0.06, 0.14))
    return (across, along, float(rng.uniform(0.015, 0.045)), colour(rng, (0, 1), (0.1, 1)))


def draw_identity(rng: Generator) -> Identity:
    """A character from the generator's next numbers."""
    u = rng.uniform
    tone = np.array(_SKINS[int(rng.integers(len(_SKINS)))]) * u(0.94, 1.04)
    skin_colour = (float(tone[0]), float(tone[1]), float(tone[2]))
    hair_colour = _hair_colour(rng)
    outfit = OUTFITS[int(rng.choice(len(OUTFITS), p=(0.45, 0.15, 0.13, 0.2, 0.07)))]
    first, second = colour(rng, (0, 1), (0.15, 1)), colour(rng, (0, 1), (0.1, 1))
    top = fabric(rng, first, second)
    dress = "dress" in outfit
    bottom = (
        top
        if dress and u() < 0.75
        else fabric(rng, colour(rng, (0, 0.9), (0.08, 0.9)), colour(rng, (0, 0.9), (0.1, 1)))
    )
    sleeve = float(rng.choice([0.0, u(0.4, 1.1), u(1.6, 2.0)], p=(0.25, 0.4, 0.35)))
    return Identity(
        build=_build(rng),
        skin_colour=skin_colour,
        skin=skin(rng, skin_colour),
        hair_colour=hair_colour,
        hair=strands(rng, hair_colour),
        hair_style=HAIR_STYLES[
            int(rng.choice(len(HAIR_STYLES), p=(0.06, 0.28, 0.14, 0.26, 0.1, 0.08, 0.08)))
        ],
        fringe=float(u(0.0, 0.4)),
        hair_length=float(u(0.1, 0.35)),
        hair_in_front=bool(u() < 0.5),
        eyes=colour(rng, (0.2, 0.8), (0.15, 0.6)),
        lips=(float(tone[0] * 0.85), float(tone[1] * u(0.4, 0.65)), float(tone[2] * u(0.45, 0.65))),
        eye_size=float(u(0.85, 1.6)),
        top=top,
        sleeve=sleeve,
        sleeve_cloth=top if u() < 0.85 else fabric(rng, second, first),
        neckline=float(u(0.0, 0.07)),
        badge=_badge(rng),
        bottom=bottom,
        outfit=outfit,
        hem=_hem(rng, outfit),
        flare=float(u(1.0, 1.3) if outfit == "long dress" else u(1.05, 2.0)),
        socks=colour(rng, (0, 0.8), (0.05, 1)),
        sock_height=float(rng.choice([0.0, u(0.2, 0.6), u(0.8, 1.4)], p=(0.6, 0.25, 0.15))),
        shoes=colour(rng, (0, 0.8), (0.05, 1)),
        light=float(u(-1, 1)),
        contrast=float(u(0.15, 0.6)),
    )
