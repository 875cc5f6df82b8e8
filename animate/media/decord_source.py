"""Read videos with decord: quick at scattered frames, for training data.

What is in the file and which frames are wanted is still worked out from its packets with PyAV, so
both readers agree on counts, times and rates. Files that decord is known to get wrong are refused
with a reason, never handed to the other reader silently.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import av
import cv2

from animate.errors import MediaError
from animate.media.audio import AudioSource
from animate.media.info import Frame, Image, VideoInfo
from animate.media.pyav_source import PyAVSource
from animate.media.selection import FrameSelection, Sampling

_FORMATS = ("mp4", "matroska")
"""Formats with an index, without which it begins in the middle or misorders frames."""
_BATCH_BYTES = 64 << 20
_LATEST_START = 1_000_000
"""Seconds: at the 1,700,000,000 of a clock that counts from 1970 it ends the whole process."""
_OTHER = 'use the "pyav" backend for it'


class DecordSource:
    """A video read by decord; see `animate.media.source.FrameSource`.

    `decoded` counts the frames that were asked of the library, which does not tell how many more
    it decodes on the way to them.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises MediaError for a file that is no video, or that decord would get wrong."""
        self._file = PyAVSource(path)
        self.info: VideoInfo = self._file.info
        self.warnings = self._file.warnings
        self.decoded = 0
        if reason := _refusal(self._file):
            raise MediaError(f"{self.info.path}: decord {reason}; {_OTHER}")

    def sampling(self, selection: FrameSelection) -> Sampling:
        """See `FrameSource.sampling`."""
        return self._file.sampling(selection)

    def read(self, selection: FrameSelection | None = None) -> Iterator[Frame]:
        """See `FrameSource.read`."""
        return self._read(self.sampling(selection or FrameSelection()))

    def audio(self, selection: FrameSelection | None = None) -> AudioSource | None:
        """See `FrameSource.audio`."""
        return self._file.audio(selection)

    def _read(self, sampling: Sampling) -> Iterator[Frame]:
        reader = _open(self.info)
        width, height = self.info.size
        batch = max(1, _BATCH_BYTES // (width * height * 3))
        for first in range(0, len(sampling.frames), batch):
            wanted = sampling.frames[first : first + batch]
            for offset, image in enumerate(self._batch(reader, sorted(set(wanted)), wanted)):
                number = first + offset
                yield Frame(image=image, time=sampling.time(number), index=wanted[offset])

    def _batch(self, reader: Any, asked: list[int], wanted: tuple[int, ...]) -> Iterator[Image]:
        try:
            images = reader.get_batch(asked).asnumpy()
            # The library goes on decoding whatever it has read, without a bound, while it waits
            # for the next request; seeking drops that.
            reader.seek(0)
        except Exception as error:  # its own error type, or whatever its foreign calls raise
            raise MediaError(
                f"{self.info.path}: decord cannot decode it ({_first_line(error)}); {_OTHER}"
            ) from error
        self.decoded += len(asked)
        where = {index: row for row, index in enumerate(asked)}
        for index in wanted:
            yield _square(images[where[index]], self.info)


def _open(info: VideoInfo) -> Any:
    try:
        import decord
    except ImportError:
        raise MediaError(
            f"{info.path}: the decord backend is not installed (pip install decord; there are "
            f"wheels for x86-64 Linux only); {_OTHER}"
        ) from None
    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(os.fspath(info.path), ctx=decord.cpu(0), num_threads=1)
    except Exception as error:
        raise MediaError(
            f"{info.path}: decord cannot open it ({_first_line(error)}); {_OTHER}"
        ) from error
    if len(reader) != info.frames:
        raise MediaError(
            f"{info.path}: decord counts {len(reader)} frames where there are {info.frames}; "
            f"{_OTHER}"
        )
    return reader


def _refusal(file: PyAVSource) -> str | None:
    """The reason why decord must not read the file, or None."""
    info = file.info
    if not file.plain:
        return "chooses among streams of pictures by itself, and reads no files that are joined"
    if info.start > _LATEST_START:
        return "breaks down on stamps that state the time of day"
    if info.codec in ("av1", "libdav1d"):
        return "cannot decode AV1"
    if not file.complete:
        return "never returns from a file that has fewer frames than its header says"
    if not set(_FORMATS).intersection(info.container.split(",")):
        return f"counts frames wrong in files of the {info.container} format"
    if info.transfer != "sdr" or info.interlaced:
        return f"reads {info.transfer.upper() if not info.interlaced else 'interlaced'} video wrong"
    if info.mirrored or (info.rotation and "matroska" in info.container):
        return "ignores that the picture is stored turned or mirrored"
    if _transparent(info.pixel_format):
        return "ignores that the picture is transparent"
    if file.fragmented:
        return "mixes up the frames of files in fragments"
    return None


def _transparent(pixel_format: str) -> bool:
    return any(part.is_alpha for part in av.VideoFormat(pixel_format).components)


def _square(image: Image, info: VideoInfo) -> Image:
    if image.shape[1::-1] == info.size:
        return image.copy()
    return cv2.resize(image, info.size, interpolation=cv2.INTER_CUBIC)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
