"""Clips with known answers, written as numbered images, which lose nothing."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from animate.media import open_writer, write_png

Picture = np.ndarray


def texture(width: int, height: int, seed: int = 0, cell: int = 12) -> Picture:
    """A smooth random picture (height,width,3)."""
    rng = np.random.default_rng(seed)
    small = rng.integers(20, 236, (height // cell + 2, width // cell + 2, 3)).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def sliding(frames: int, width: int = 192, height: int = 176, step: int = 2) -> list[Picture]:
    """A texture that moves `step` pixels a frame to the left."""
    wide = texture(width + step * frames, height)
    return [np.ascontiguousarray(wide[:, i * step : i * step + width]) for i in range(frames)]


def noisy(frames: Iterable[Picture], level: float, seed: int = 1) -> list[Picture]:
    """Frames with Gaussian noise of a deviation."""
    rng = np.random.default_rng(seed)
    return [
        np.clip(frame + rng.normal(0, level, frame.shape), 0, 255).round().astype(np.uint8)
        for frame in frames
    ]


def blurred(frames: Iterable[Picture], radius: float) -> list[Picture]:
    """Frames smoothed by a Gaussian of a deviation in pixels; as they are for 0."""
    return [f if radius == 0 else cv2.GaussianBlur(f, (0, 0), radius) for f in frames]


def images(folder: Path, frames: Iterable[Picture]) -> Path:
    """A folder of numbered PNG files."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        write_png(folder / f"{number:04d}.png", frame)
    return folder


def video(path: Path, frames: list[Picture], fps: int | Fraction = 25) -> Path:
    """A video file of the frames."""
    height, width = frames[0].shape[:2]
    with open_writer(path, size=(width, height), fps=Fraction(fps)) as writer:
        for frame in frames:
            writer.write(frame)
    return path
