"""Decode the pictures of a stream: the same file gives the same ones at every reading.

Threads that decode several frames at once race where one is damaged: what stands in for its lost
part, and all that is predicted from it, changes from run to run and with the number of threads.
Frames are therefore held back until those that were decoded beside them show no damage; at its
first sign the stream is decoded anew by one thread, which goes on after those that were given out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from animate.media.containers import crop_exactly, opened
from animate.media.joints import Joint, splicer

_TELLING = ("h264", "vp9", "libdav1d")
"""Decoders that mark whatever damage makes threads race. HEVC's and VP8's do not: a picture that
ends early is no error to them, and its rest is what the memory held before."""
_THREADS = 4
"""Frames in the making at once, at most."""


class _Unsteady(Exception):
    """From here on several threads might decode other frames than one."""


@dataclass(kw_only=True)
class StreamDecoder:
    """Decodes one stream of pictures of a file."""

    path: Path
    stream: int
    """Index of the stream in its container."""
    joints: tuple[Joint, ...] = ()
    """Where further files begin that were joined to the first."""
    start: int | None = None
    """Time stamp from whose key frame on; None: from the beginning."""
    damaged: int = 0
    """Frames given out so far that could be decoded only in part."""

    def frames(self) -> Generator[av.VideoFrame, None, None]:
        """All frames that can be decoded; damaged packets are left out."""
        passed = 0
        try:
            with closing(self._by_threads()) as frames:
                for frame in frames:
                    passed += 1
                    yield frame
            return
        except _Unsteady:
            pass
        with closing(self._by_one()) as frames:
            for frame in islice(frames, passed, None):
                self.damaged += frame.is_corrupt
                yield frame

    def _by_threads(self) -> Generator[av.VideoFrame, None, None]:
        """Frames before the first in which damage may show, and then _Unsteady."""
        held: deque[av.VideoFrame] = deque()
        with opened(self.path) as container:
            stream = self._sought(container)
            codec = stream.codec_context.codec
            if codec.name not in _TELLING and not codec.intra_only:
                raise _Unsteady
            stream.thread_type, stream.codec_context.thread_count = "FRAME", _THREADS
            for frame in _decoded(container, stream, self.joints):
                if frame is None or frame.is_corrupt:
                    raise _Unsteady
                held.append(frame)
                # Frames in the making beside a damaged one may come before it, or it unmarked.
                while len(held) > stream.codec_context.reorder_depth + _THREADS:
                    yield held.popleft()
            yield from held

    def _by_one(self) -> Generator[av.VideoFrame, None, None]:
        with opened(self.path) as container:
            stream = self._sought(container)
            stream.thread_type, stream.codec_context.thread_count = "NONE", 1
            for frame in _decoded(container, stream, self.joints):
                if frame is not None:
                    yield frame

    def _sought(self, container: InputContainer) -> VideoStream:
        """The stream, at its start."""
        stream = container.streams[self.stream]
        assert isinstance(stream, VideoStream)
        crop_exactly(stream)
        if self.start is not None:
            container.seek(self.start, stream=stream, backward=True)
        return stream


def _decoded(
    container: InputContainer, stream: VideoStream, joints: tuple[Joint, ...]
) -> Iterator[av.VideoFrame | None]:
    """Frames in the order in which they are shown; None for a packet that cannot be decoded."""
    splices = splicer(container, stream.time_base, joints)
    for packet in _packets(container, stream):
        if splices is not None and packet is not None and packet.size:
            splices.move(packet)
        try:
            frames = stream.decode(packet)
        except av.error.FFmpegError:
            yield None
            continue
        for frame in frames:
            assert isinstance(frame, av.VideoFrame)
            yield frame


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet | None]:
    """Packets up to a break in the file; behind it None, on which the decoder gives out the rest.

    The caller sees which frames did not come.
    """
    packets = container.demux(stream)
    while True:
        try:
            yield next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:
            yield None
            return
