"""Pictures in memory read as a video."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from animate.media.even import EvenSource
from animate.media.info import Image


class ListedSource(EvenSource):
    """Pictures of one size in memory; see `animate.media.source.FrameSource`."""

    def __init__(self, pictures: Sequence[Image], fps: Fraction, name: str) -> None:
        """`pictures` are (H,W,3) uint8 RGB, at least one; `name` is theirs, for messages."""
        height, width = pictures[0].shape[:2]
        super().__init__(
            Path(name),
            size=(width, height),
            fps=fps,
            count=len(pictures),
            kind=("pictures in memory", ""),
        )
        self._pictures = pictures

    def digest(self) -> str:
        """SHA-256 of the pixels."""
        digest = hashlib.sha256()
        for picture in self._pictures:
            digest.update(f"{picture.shape}".encode())
            digest.update(np.ascontiguousarray(picture).data)
        return digest.hexdigest()

    def _picture(self, index: int) -> Image:
        return self._pictures[index]
