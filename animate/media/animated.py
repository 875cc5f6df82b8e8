"""Animated WebP read as a video, which the video library does not decode."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import PIL.Image

from animate.errors import MediaError
from animate.files import check_readable
from animate.media.audio import AudioSource
from animate.media.info import Frame, VideoInfo
from animate.media.pictures import over_white
from animate.media.selection import FrameSelection, Sampling, sample
from animate.media.timeline import make_timeline

_CLOCK = Fraction(1, 1000)
"""Seconds of a tick: WebP states milliseconds."""
_UNSTATED = 100
"""Milliseconds that browsers show a frame which states no duration."""
_MOST_PIXELS = 70_000_000
_MOVING = ("WEBP", "PNG", "AVIF")
"""Pillow's names of formats whose files hold a still picture or a moving one."""


def is_animated_webp(path: str | os.PathLike[str]) -> bool:
    """True for a file of the extended WebP format whose header says that it moves."""
    try:
        with open(path, "rb") as file:
            head = file.read(21)
    except OSError:
        return False
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20] & 2)


def is_animated(path: str | os.PathLike[str]) -> bool:
    """True for a file of a kind of still pictures that holds a moving one."""
    if not Path(path).is_file():
        return False
    try:
        with PIL.Image.open(path, formats=_MOVING) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:  # whoever reads the picture says what is wrong with it
        return False


class AnimatedSource:
    """An animated WebP file; see `animate.media.source.FrameSource`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises MediaError if the file is missing, too large or damaged."""
        self.path = check_readable(path, "video", MediaError)
        self.decoded = 0
        self.warnings: tuple[str, ...] = ()
        durations, size = self._durations()
        ticks = np.cumsum([0, *durations[:-1]], dtype=np.int64)
        try:
            self._timeline = make_timeline(ticks, _CLOCK, (), durations[-1])
        except ValueError as error:
            raise MediaError(f"{path} {error}; export it with an even frame rate") from None
        self.info = VideoInfo(
            path=Path(path),
            width=size[0],
            height=size[1],
            fps=self._timeline.fps,
            frames=len(durations),
            duration=self._timeline.end,
            has_audio=False,
            variable_rate=not self._timeline.regular,
            container="webp",
            codec="webp",
        )
        if self.info.variable_rate:
            self.warnings = (
                f"{path} has a variable frame rate; it is sampled by time at "
                f"{float(self.info.fps):g} frames/s",
            )

    def sampling(self, selection: FrameSelection) -> Sampling:
        """See `FrameSource.sampling`."""
        return sample(selection, self._timeline, str(self.path))

    def read(self, selection: FrameSelection | None = None) -> Iterator[Frame]:
        """See `FrameSource.read`."""
        return self._read(self.sampling(selection or FrameSelection()))

    def audio(self, selection: FrameSelection | None = None) -> AudioSource | None:
        """None: WebP has no sound."""
        return None

    def _read(self, sampling: Sampling) -> Iterator[Frame]:
        pictures = enumerate(self._pictures())
        current, image = -1, np.zeros((0, 0, 3), np.uint8)
        for number, index in enumerate(sampling.frames):
            while current < index:
                current, pixels = next(pictures)
                image = over_white(pixels) if pixels.shape[2] == 4 else pixels
            yield Frame(image=image, time=sampling.time(number), index=index)

    def _pictures(self) -> Iterator[np.ndarray]:
        """Every frame (height, width, 3 or 4) uint8, composed over those before it."""
        with _opened(self.path) as file:
            frames = iter(file.iter())
            while True:
                try:
                    pixels = next(frames)
                except StopIteration:
                    return
                except Exception as error:  # damaged files raise whatever the decoder meets
                    raise self._damaged(error) from error
                self.decoded += 1
                yield pixels

    def _durations(self) -> tuple[list[int], tuple[int, int]]:
        """Milliseconds of every frame, and the size (width, height)."""
        try:
            with _opened(self.path) as file:
                count, height, width, *_ = file.properties(index=...).shape
                if width * height > _MOST_PIXELS:
                    raise MediaError(
                        f"{self.path} is too large ({width}x{height}); make it smaller"
                    )
                # The library tells a frame's duration once it has been decoded.
                durations = []
                for index in range(count):
                    file.read(index=index)
                    durations.append(_milliseconds(file.metadata(index=index)))
        except MediaError:
            raise
        except Exception as error:
            raise self._damaged(error) from error
        return durations, (width, height)

    def _damaged(self, error: Exception) -> MediaError:
        return MediaError(
            f"{self.path} cannot be read as an animated WebP "
            f"({error.__cause__ or error}); it is damaged or cut "
            "off, export it again"
        )


def _opened(path: Path) -> Any:
    """imageio's plugin for pictures that Pillow decodes; its own types are narrower than it is."""
    return imageio.imopen(path, "r", plugin="pillow")


def _milliseconds(metadata: Mapping[str, object]) -> int:
    stated = metadata.get("duration")
    return max(0, round(stated if isinstance(stated, int | float) else 0)) or _UNSTATED
