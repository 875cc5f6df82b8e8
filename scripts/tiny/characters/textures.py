"""Fabrics and noise that clothes, hair and backgrounds are made of. uint8 RGB, seeded.

Everything takes a `numpy.random.Generator`, so one seed always gives one picture.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Colour = tuple[float, float, float]
Picture = NDArray[np.uint8]

# A swatch is square and tiles by reflection; drawn limbs are a fraction of it across.
SWATCH = 96


def colour(rng: Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    """A random hue with saturation and value drawn from their ranges (0 to 1); RGB 0 to 255."""
    red, green, blue = colorsys.hsv_to_rgb(
        rng.uniform(), rng.uniform(*saturation), rng.uniform(*value)
    )
    return (255 * red, 255 * green, 255 * blue)


def palette(rng: Generator, count: int) -> NDArray[np.float32]:
    """(count,3) colours that could be one photograph's: a shared tint, dark to bright."""
    tint = np.array(colour(rng, (0.1, 0.9), (0.5, 1.0)))
    mix = rng.uniform(0.0, 0.6)
    values = []
    for level in np.sort(rng.uniform(0.05, 1.0, count)):
        shade = np.array(colour(rng, (0.05, 0.8), (0.9, 1.0)))
        values.append(level * (mix * tint + (1 - mix) * shade))
    return np.array(values, np.float32)


def noise(
    rng: Generator, size: tuple[int, int], cells: float, octaves: int = 4, fade: float = 0.55
) -> NDArray[np.float32]:
    """Fractal value noise (h,w) in [0,1] for `size` (w,h), with `cells` cells on the long side."""
    width, height = size
    total = np.zeros((height, width), np.float32)
    weight = 1.0
    for _ in range(octaves):
        scale = cells / max(width, height)
        shape = (int(height * scale) + 2, int(width * scale) + 2)
        grid = rng.random(shape, np.float32)
        total += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        weight *= fade
        cells *= 2
        if cells > max(width, height):
            break
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


def coloured(values: NDArray[np.float32], colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """A map of values in [0,1] as RGB, running through `colours` (n,3)."""
    places = values * (len(colours) - 1)
    lower = np.clip(places.astype(np.int32), 0, len(colours) - 2)
    part = (places - lower)[..., None]
    return colours[lower] * (1 - part) + colours[lower + 1] * part


def plain(rng: Generator, main: Colour, second: Colour) -> NDArray[np.float32]:
    """One colour."""
    return np.full((SWATCH, SWATCH, 3), main, np.float32)


def stripes(rng: Generator, main: Colour, second: Colour) -> NDArray[np.float32]:
    """Stripes across, along or at an angle."""
    y, x = np.mgrid[0:SWATCH, 0:SWATCH].astype(np.float32) / SWATCH
    angle = rng.choice([0.0, 0.0, np.pi / 2, rng.uniform(0, np.pi)])
    phase = (x * np.sin(angle) + y * np.cos(angle)) * rng.uniform(3, 9) + rng.uniform()
    return np.where((phase % 1 < rng.uniform(0.2, 0.6))[..., None], second, main).astype(np.float32)


def plaid(rng: Generator, main: Colour, second: Colour) -> NDArray[np.float32]:
    """Two crossing sets of half-transparent bands."""
    y, x = np.mgrid[0:SWATCH, 0:SWATCH].astype(np.float32) / SWATCH
    count, width = rng.uniform(3, 7), rng.uniform(0.25, 0.5)
    amount = 0.5 * ((x * count % 1 < width).astype(np.float32) + (y * count % 1 < width))
    return np.array(main) * (1 - amount[..., None]) + np.array(second) * amount[..., None]


def dots(rng: Generator, main: Colour, second: Colour) -> NDArray[np.float32]:
    """Dots in staggered rows."""
    y, x = np.mgrid[0:SWATCH, 0:SWATCH].astype(np.float32) / SWATCH
    count = rng.uniform(4, 8)
    row = np.floor(y * count)
    across, along = (x * count + 0.5 * (row % 2)) % 1 - 0.5, y * count % 1 - 0.5
    inside = across**2 + along**2 < rng.uniform(0.2, 0.38) ** 2
    return np.where(inside[..., None], second, main).astype(np.float32)


def flowers(rng: Generator, main: Colour, second: Colour) -> NDArray[np.float32]:
    """Patches of a few colours from noise: flowers, camouflage, marble."""
    values = noise(rng, (SWATCH, SWATCH), rng.uniform(4, 10), octaves=2)
    colours = np.concatenate([palette(rng, 2), np.array([main, second], np.float32)])
    if rng.uniform() < 0.7:
        values = np.floor(values * 3.99) / 3
    return coloured(values, colours[rng.permutation(4)])


def faded(rng: Generator, main: Colour, second: Colour) -> NDArray[np.float32]:
    """One colour running into another along the body."""
    y = np.linspace(0, 1, SWATCH, dtype=np.float32)[:, None, None]
    return np.broadcast_to(
        np.array(main, np.float32) * (1 - y) + np.array(second, np.float32) * y, (SWATCH, SWATCH, 3)
    ).copy()


_Fabric = Callable[[Generator, Colour, Colour], NDArray[np.float32]]
_FABRICS: tuple[_Fabric, ...] = (plain, stripes, plaid, dots, flowers, faded)
_CHANCES = (0.38, 0.16, 0.1, 0.08, 0.2, 0.08)


def fabric(rng: Generator, main: Colour, second: Colour) -> Picture:
    """A swatch (96,96,3) of cloth: a pattern in two colours with weave and wrinkles."""
    make = _FABRICS[int(rng.choice(len(_FABRICS), p=_CHANCES))]
    cloth = make(rng, main, second)
    wrinkles = noise(rng, (SWATCH, SWATCH), rng.uniform(2, 5), octaves=3) - 0.5
    cloth = cloth * (1 + rng.uniform(0.05, 0.4) * wrinkles[..., None])
    return np.clip(cloth, 0, 255).astype(np.uint8)


def skin(rng: Generator, base: Colour) -> Picture:
    """A swatch of skin: its colour with a slow drift."""
    drift = noise(rng, (SWATCH, SWATCH), 3, octaves=2) - 0.5
    return np.clip(np.array(base) * (1 + 0.12 * drift[..., None]), 0, 255).astype(np.uint8)


def strands(rng: Generator, base: Colour) -> Picture:
    """A swatch of hair: fine streaks along, and a shine."""
    streaks = cv2.resize(
        rng.random((5, SWATCH // 4), np.float32), (SWATCH, SWATCH), interpolation=cv2.INTER_CUBIC
    )
    depth = rng.uniform(0.2, 0.6)
    return np.clip(np.array(base) * (1 + depth * (streaks[..., None] - 0.5)), 0, 255).astype(
        np.uint8
    )


def mean_colour(swatch: Picture) -> Colour:
    """The colour that a swatch has from afar."""
    red, green, blue = swatch.mean((0, 1))
    return (float(red), float(green), float(blue))


def rounded(swatch: Picture, light: float, depth: float) -> Picture:
    """The swatch as it looks on a cylinder along its y axis; `light` in [-1,1] is where it is
    brightest across, `depth` in [0,1] how dark the far edge gets."""
    across = np.linspace(-1, 1, SWATCH, dtype=np.float32)
    shade = 1 - depth * np.clip(np.abs(across - 0.6 * light) / 1.6, 0, 1) ** 1.5
    return np.clip(swatch * shade[None, :, None], 0, 255).astype(np.uint8)
