"""Pictures in memory read as a video."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from animate.media.audio import AudioSource
from animate.media.info import Frame, Image, VideoInfo
from animate.media.selection import FrameSelection, Sampling, sample
from animate.media.timeline import Timeline


class ListedSource:
    """Pictures of one size in memory; see `animate.media.source.FrameSource`."""

    def __init__(self, pictures: Sequence[Image], fps: Fraction, name: str) -> None:
        """`pictures` are (H,W,3) uint8 RGB, at least one; `name` is theirs, for messages."""
        self._pictures, self._name = pictures, name
        self.decoded = 0
        self.warnings: tuple[str, ...] = ()
        count = len(pictures)
        height, width = pictures[0].shape[:2]
        self._timeline = Timeline(
            ticks=np.arange(count, dtype=np.int64),
            time_base=1 / fps,
            fps=fps,
            regular=True,
            end=count / fps,
        )
        self.info = VideoInfo(
            path=Path(name),
            width=width,
            height=height,
            fps=fps,
            frames=count,
            duration=count / fps,
            has_audio=False,
            container="pictures in memory",
        )

    def sampling(self, selection: FrameSelection) -> Sampling:
        """See `FrameSource.sampling`."""
        return sample(selection, self._timeline, self._name)

    def read(self, selection: FrameSelection | None = None) -> Iterator[Frame]:
        """See `FrameSource.read`."""
        return self._read(self.sampling(selection or FrameSelection()))

    def audio(self, selection: FrameSelection | None = None) -> AudioSource | None:
        """None: pictures have no sound."""
        return None

    def digest(self) -> str:
        """SHA-256 of the pixels."""
        digest = hashlib.sha256()
        for picture in self._pictures:
            digest.update(f"{picture.shape}".encode())
            digest.update(np.ascontiguousarray(picture).data)
        return digest.hexdigest()

    def _read(self, sampling: Sampling) -> Iterator[Frame]:
        for number, index in enumerate(sampling.frames):
            self.decoded += 1
            yield Frame(image=self._pictures[index], time=sampling.time(number), index=index)
