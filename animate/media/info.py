"""The values that video files are spoken about in."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

Image = np.ndarray
"""A picture: (height, width, 3) uint8, RGB, upright, rows from the top."""
PictureType = Literal["pil", "np", "pt"]
"""Kinds of pictures that programs get: Pillow's own, an array (H,W,3) or a tensor (3,H,W) of floats
in [0,1]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One picture of a clip and where it comes from."""

    image: Image
    """(height, width, 3) uint8 RGB, upright, square pixels."""
    time: Fraction
    """Seconds after the first frame of the source at which the picture is shown in the clip."""
    index: int
    """Number of the source's frame, from 0; repeated where a slower source is held."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """A video file as it will be read: upright and with square pixels."""

    path: Path
    width: int
    """Pixels across, after rotation and after stretching to square pixels."""
    height: int
    """Pixels down, likewise."""
    fps: Fraction
    """Frames per second; of a variable-rate file, the rate of its typical frame."""
    frames: int | None
    """Frames that are really in the file (its header may claim others)."""
    duration: Fraction | None
    """Seconds from the first frame to the end of the last."""
    has_audio: bool
    """True if a sound stream is there."""
    rotation: int = 0
    """Degrees counter-clockwise (0, 90, 180, 270) that are applied while reading."""
    mirrored: bool = False
    """True if a left-right flip is applied before the rotation."""
    pixel_aspect: Fraction = Fraction(1)
    """Width of a stored pixel by its height, before rotation; pictures are stretched by it."""
    variable_rate: bool = False
    """True if frames are unevenly spaced; they are then sampled by their time stamps."""
    interlaced: bool = False
    """True if fields are woven together; a full frame is made of each pair while reading."""
    transfer: str = "sdr"
    """"sdr", or "pq" or "hlg" for high dynamic range, which is tone-mapped while reading."""
    container: str = ""
    """The library's names for the file format, such as "mov,mp4,m4a,3gp,3g2,mj2"."""
    codec: str = ""
    """Name of the video's compression, such as "h264"."""
    pixel_format: str = ""
    """Stored format of a pixel, such as "yuv420p"."""
    start: Fraction = Fraction(0)
    """Seconds on the file's own clock at which the first frame is shown; sound uses that clock."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.width, self.height
