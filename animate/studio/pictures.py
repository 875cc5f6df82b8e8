"""Frames of videos and photos as small JPEGs, for pages that scrub through them.

A page asks for blocks of frames. A block that follows the one before goes on with the same decoder;
others begin at the key frame before them. Blocks are kept in memory, up to a fixed amount.
"""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from animate.errors import RequestError
from animate.media import FrameSelection, FrameSource, open_video, read_image
from animate.media.info import Frame

BLOCK = 24
"""Frames that are asked for together."""
SIZES = (120, 240, 360, 540)
"""Longer sides, in pixels, that frames are given in."""
_MOST_BYTES = 160 << 20
_MOST_SOURCES = 6
_QUALITY = 82

Stamp = tuple[str, int, int]
"""Path, bytes and time of a file: another one is another file."""


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """A video, as pages need to know it."""

    width: int
    height: int
    fps: str
    """Exact, a fraction."""
    frames: int
    seconds: float
    has_audio: bool
    remarks: tuple[str, ...]


@dataclass(kw_only=True)
class _Stream:
    """A decoder in the middle of a video."""

    stamp: Stamp
    frames: Iterator[Frame]
    following: int
    """Number of the frame that comes next."""


class FrameStore:
    """Reads frames for any number of pages; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sources: OrderedDict[Stamp, FrameSource] = OrderedDict()
        self._blocks: OrderedDict[tuple[Stamp, int, int], bytes] = OrderedDict()
        self._bytes = 0
        self._streams: list[_Stream] = []
        self._decoding = threading.Lock()

    def facts(self, path: Path) -> VideoFacts:
        """Size, rate and length of a video. Raises MediaError."""
        source = self._source(path)
        info, sampling = source.info, source.sampling(FrameSelection())
        return VideoFacts(
            width=info.width,
            height=info.height,
            fps=str(sampling.fps),
            frames=len(sampling.frames),
            seconds=float(sampling.duration),
            has_audio=info.has_audio,
            remarks=tuple(source.warnings),
        )

    def block(self, path: Path, number: int, size: int) -> bytes:
        """Frames `number * BLOCK` onwards: for each the length of its JPEG (32 bits, little-endian)
        and the JPEG. Raises MediaError, or RequestError for a block that is not there.
        """
        if size not in SIZES:
            raise RequestError(f"frames come in sizes {', '.join(map(str, SIZES))}, not {size}")
        at = (stamp_of(path), number, size)
        if (block := self._cached(at)) is not None:
            return block
        with self._decoding:
            if (block := self._cached(at)) is not None:
                return block
            block = b"".join(
                struct.pack("<I", len(data)) + data
                for data in (jpeg(frame.image, size) for frame in self._frames(path, number))
            )
            self._cache(at, block)
        return block

    def _frames(self, path: Path, number: int) -> Iterator[Frame]:
        source = self._source(path)
        count = len(source.sampling(FrameSelection()).frames)
        first, stop = number * BLOCK, min((number + 1) * BLOCK, count)
        if not 0 <= first < count:
            raise RequestError(f"there is no frame {first} in {path.name}; it has {count}")
        stream = self._stream(source, stamp_of(path), first)
        for index in range(first, stop):
            frame = next(stream.frames, None)
            if frame is None:
                self._streams.remove(stream)
                return
            stream.following = index + 1
            yield frame

    def _stream(self, source: FrameSource, stamp: Stamp, first: int) -> _Stream:
        for stream in self._streams:
            if stream.stamp == stamp and stream.following == first:
                self._streams.remove(stream)
                self._streams.append(stream)
                return stream
        frames: Iterator[Frame]
        if source.info.variable_rate:  # sampled by time from its beginning, as poses are
            frames = islice(source.read(), first, None)
        else:
            frames = source.read(FrameSelection(start=first))
        stream = _Stream(stamp=stamp, frames=frames, following=first)
        self._streams = [*self._streams[-2:], stream]
        return stream

    def _source(self, path: Path) -> FrameSource:
        stamp = stamp_of(path)
        with self._lock:
            if stamp in self._sources:
                self._sources.move_to_end(stamp)
                return self._sources[stamp]
        source = open_video(path)
        with self._lock:
            self._sources[stamp] = source
            while len(self._sources) > _MOST_SOURCES:
                self._sources.popitem(last=False)
        return source

    def _cached(self, at: tuple[Stamp, int, int]) -> bytes | None:
        with self._lock:
            if at not in self._blocks:
                return None
            self._blocks.move_to_end(at)
            return self._blocks[at]

    def _cache(self, at: tuple[Stamp, int, int], block: bytes) -> None:
        with self._lock:
            self._blocks[at] = block
            self._bytes += len(block)
            while self._bytes > _MOST_BYTES:
                _, oldest = self._blocks.popitem(last=False)
                self._bytes -= len(oldest)


def stamp_of(path: Path) -> Stamp:
    """The marks by which a file is known to be unchanged. Raises RequestError where it is gone."""
    try:
        state = path.stat()
    except OSError as reason:
        raise RequestError(f"{path.name} cannot be read: {reason.strerror}") from reason
    return str(path), state.st_size, state.st_mtime_ns


def photo(path: Path, size: int) -> bytes:
    """A photo as a JPEG whose longer side is at most `size`. Raises MediaError."""
    return jpeg(read_image(path), size)


def jpeg(image: np.ndarray, size: int) -> bytes:
    """The JPEG of (H,W,3) uint8 RGB with its longer side at most `size` pixels."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    if scale < 1:
        smaller = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    return cv2.imencode(".jpg", image[..., ::-1], options)[1].tobytes()
