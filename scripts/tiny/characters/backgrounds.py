"""Backgrounds: places that could stand behind a person, made from gradients, noise and shapes."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from scripts.tiny.characters.textures import (
    Picture,
    colour,
    coloured,
    noise,
    palette,
    plaid,
    stripes,
)

_Float = NDArray[np.float32]
Size = tuple[int, int]


def _gradient(rng: Generator, size: Size) -> _Float:
    width, height = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = (x / width - 0.5) * np.cos(angle) + (y / height - 0.5) * np.sin(angle)
    return coloured(np.clip(ramp + 0.5, 0, 1), palette(rng, 2)[rng.permutation(2)])


def _ground(rng: Generator, picture: _Float, horizon: float, colours: _Float) -> None:
    """Cover everything below the horizon with a floor whose texture is stretched sideways."""
    height, width = picture.shape[:2]
    top = int(horizon * height)
    if top >= height - 1:
        return
    values = noise(rng, (width, 3 * (height - top)), rng.uniform(4, 16))
    floor = cv2.resize(coloured(values, colours), (width, height - top))
    picture[top:] = floor * np.linspace(0.75, 1.1, height - top, dtype=np.float32)[:, None, None]


def _landscape(rng: Generator, size: Size) -> _Float:
    """Sky, ridges of hills or trees, ground."""
    width, height = size
    sky = np.linspace(0, 1, height, dtype=np.float32)[:, None].repeat(width, 1)
    clouds = noise(rng, size, rng.uniform(2, 5))
    picture = coloured(np.clip(sky + 0.5 * (clouds - 0.5), 0, 1), palette(rng, 3)[::-1])
    horizon = rng.uniform(0.3, 0.8)
    y = np.arange(height, dtype=np.float32)[:, None] / height
    for step in range(int(rng.integers(1, 4))):
        line = noise(rng, (width, 2), rng.uniform(2, 14), octaves=4)[0]
        ridge = horizon - (0.35 - 0.1 * step) * line * rng.uniform(0.4, 1.2)
        leaves = coloured(noise(rng, size, rng.uniform(8, 40)), palette(rng, 3))
        picture = np.where((y > ridge[None])[..., None], leaves, picture)
    _ground(rng, picture, horizon, palette(rng, 3))
    return picture


def _room(rng: Generator, size: Size) -> _Float:
    """A lit wall with frames, doors or windows, and mostly a floor."""
    width, height = size
    picture = (
        _gradient(rng, size)
        if rng.uniform() < 0.5
        else np.full((height, width, 3), colour(rng, (0.0, 0.6), (0.3, 1.0)), np.float32)
    )
    for _ in range(int(rng.integers(0, 6))):
        centre, half = rng.uniform(0, 1, 2), rng.uniform(0.03, 0.25, 2)
        first = (centre - half) * (width, height)
        last = (centre + half) * (width, height)
        left, top, right, bottom = (int(v) for v in (*first, *last))
        tint = colour(rng, (0, 0.8), (0.1, 1))
        cv2.rectangle(picture, (left, top), (right, bottom), tint, -1, cv2.LINE_AA)
        if rng.uniform() < 0.6:
            edge = colour(rng, (0, 0.5), (0.1, 1))
            width_px = int(rng.integers(1, 5))
            cv2.rectangle(picture, (left, top), (right, bottom), edge, width_px, cv2.LINE_AA)
    picture *= 1 + 0.25 * (noise(rng, size, rng.uniform(3, 30))[..., None] - 0.5)
    if rng.uniform() < 0.7:
        _ground(rng, picture, rng.uniform(0.7, 0.95), palette(rng, 2))
    return picture


def _blobs(rng: Generator, size: Size) -> _Float:
    """Discs out of focus over a gradient."""
    width, height = size
    picture = _gradient(rng, size)
    for _ in range(int(rng.integers(5, 30))):
        centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        layer = picture.copy()
        radius = int(rng.uniform(0.02, 0.2) * width)
        cv2.circle(layer, centre, radius, colour(rng, (0, 0.9), (0.1, 1)), -1, cv2.LINE_AA)
        picture = np.asarray(cv2.addWeighted(layer, 0.6, picture, 0.4, 0), np.float32)
    return picture


def _foliage(rng: Generator, size: Size) -> _Float:
    """Noise through a palette: leaves, stone, water, cloth."""
    values = noise(rng, size, rng.uniform(2, 40), octaves=5, fade=rng.uniform(0.4, 0.8))
    light = noise(rng, size, 2, octaves=2)[..., None]
    return coloured(values, palette(rng, int(rng.integers(2, 5)))) * (0.5 + 0.7 * light)


def _pattern(rng: Generator, size: Size) -> _Float:
    """Bricks, tiles, boards: a regular pattern, its contrast lowered."""
    make = plaid if rng.uniform() < 0.5 else stripes
    first = np.array(colour(rng, (0.05, 0.6), (0.3, 1)))
    second = first + rng.uniform(0.1, 0.5) * (np.array(colour(rng, (0, 0.8), (0.1, 1))) - first)
    swatch = make(rng, tuple(first), tuple(second)).astype(np.float32)
    picture = cv2.resize(swatch, (max(size), max(size)), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(picture[: size[1], : size[0]])


def _collage(rng: Generator, size: Size) -> _Float:
    """Overlapping polygons: buildings, furniture, machines."""
    width, height = size
    picture = _gradient(rng, size)
    for _ in range(int(rng.integers(4, 18))):
        middle = rng.uniform(0, 1, 2)
        corners = middle + rng.uniform(-0.35, 0.35, (int(rng.integers(3, 6)), 2))
        outline = cv2.convexHull((corners * (width, height)).astype(np.int32))
        cv2.fillConvexPoly(picture, outline, colour(rng, (0, 0.8), (0.05, 1)), cv2.LINE_AA)
    return picture


_Place = Callable[[Generator, Size], _Float]
PLACES: dict[str, _Place] = {
    "gradient": _gradient, "landscape": _landscape, "room": _room, "lights": _blobs,
    "foliage": _foliage, "pattern": _pattern, "collage": _collage,
}  # fmt: skip
"""Painters of (h,w,3) scenes by what is seen."""
_CHANCES = (0.12, 0.26, 0.22, 0.1, 0.12, 0.06, 0.12)


def background(rng: Generator, size: Size) -> Picture:
    """A background (h,w,3) for `size` (w,h): a place, its focus, light and vignette."""
    scene = tuple(PLACES.values())[int(rng.choice(len(PLACES), p=_CHANCES))]
    picture = np.ascontiguousarray(scene(rng, size), np.float32)
    if rng.uniform() < 0.6:
        blur = rng.uniform(0.003, 0.02) * max(size)
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), blur), np.float32)
    width, height = size
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    centre = rng.uniform(-0.7, 0.7, 2)
    distance = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
    picture = picture * (1.05 - rng.uniform(0, 0.25) * distance[..., None])
    return np.clip(picture, 0, 255).astype(np.uint8)
