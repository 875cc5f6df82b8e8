"""Single pictures at an even rate, read as a video: numbered files, poses, pictures in memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from animate.media.audio import AudioSource
from animate.media.info import Frame, Image, VideoInfo
from animate.media.selection import FrameSelection, Sampling, sample
from animate.media.timeline import Timeline


class EvenSource:
    """A source without sound whose pictures are reached by their number.

    See `animate.media.source.FrameSource`. Kinds of pictures differ in `_picture` alone.
    """

    def __init__(
        self, path: Path, *, size: tuple[int, int], fps: Fraction, count: int, kind: tuple[str, str]
    ) -> None:
        """`size` is (width, height) of all `count` pictures, `kind` the container and codec."""
        self.path = path
        self.decoded = 0
        self.warnings: tuple[str, ...] = ()
        self._timeline = Timeline(
            ticks=np.arange(count, dtype=np.int64),
            time_base=1 / fps,
            fps=fps,
            regular=True,
            end=count / fps,
        )
        width, height = size
        self.info = VideoInfo(
            path=path,
            width=width,
            height=height,
            fps=fps,
            frames=count,
            duration=count / fps,
            has_audio=False,
            container=kind[0],
            codec=kind[1],
        )

    def sampling(self, selection: FrameSelection) -> Sampling:
        """See `FrameSource.sampling`."""
        return sample(selection, self._timeline, str(self.path))

    def read(self, selection: FrameSelection | None = None) -> Iterator[Frame]:
        """See `FrameSource.read`."""
        return self._read(self.sampling(selection or FrameSelection()))

    def audio(self, selection: FrameSelection | None = None) -> AudioSource | None:
        """None: such pictures have no sound."""
        return None

    def _read(self, sampling: Sampling) -> Iterator[Frame]:
        latest, image = -1, np.zeros((0, 0, 3), np.uint8)
        for number, index in enumerate(sampling.frames):
            if index != latest:
                latest, image = index, self._picture(index)
                self.decoded += 1
            yield Frame(image=image, time=sampling.time(number), index=index)

    @abstractmethod
    def _picture(self, index: int) -> Image:
        """Picture number `index`, of the size in `info`."""
