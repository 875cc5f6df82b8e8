"""Read videos with PyAV: streaming, and exact by time stamp."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from animate.errors import MediaError
from animate.media.audio import AudioSource
from animate.media.av_errors import av_errors
from animate.media.info import Frame, Image, VideoInfo
from animate.media.pictures import PictureMaker, Shape, deinterlaced, shape_of
from animate.media.scan import DAMAGED, Scan, opened, scan
from animate.media.selection import FrameSelection, Sampling, sample

_PACKETS_TO_FIRST_FRAME = 300


class PyAVSource:
    """A video read by PyAV; see `animate.media.source.FrameSource`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises MediaError if `path` is missing, damaged or not a video."""
        self.path = Path(path)
        self.decoded = 0
        with (
            opened(path) as (container, stream),
            av_errors(path, "breaks off while it is read", DAMAGED),
        ):
            stream.thread_type = "SLICE"  # frame threads would decode several to give one
            first = _FirstFrame()
            self._scan = scan(container, stream, self.path, look=first.feed)
            picture = first.found(stream, self.path)
            self._shape = shape_of(picture, stream.sample_aspect_ratio, self.path)
            self.info = _info(container, stream, self._shape, self._scan, self.path)
        self.warnings: tuple[str, ...] = _warnings(self._scan, self.info)

    def sampling(self, selection: FrameSelection) -> Sampling:
        """See `FrameSource.sampling`."""
        check_reach(selection, self._scan, self.path)
        return sample(selection, self._scan.timeline, str(self.path))

    def read(self, selection: FrameSelection | None = None) -> Iterator[Frame]:
        """See `FrameSource.read`."""
        return self._read(self.sampling(selection or FrameSelection()))

    def audio(self, selection: FrameSelection | None = None) -> AudioSource | None:
        """See `FrameSource.audio`."""
        if not self.info.has_audio:
            return None
        sampling = self.sampling(selection or FrameSelection())
        return AudioSource(
            path=self.path, start=self.info.start + sampling.start, duration=sampling.duration
        )

    @property
    def complete(self) -> bool:
        """Whether all that the file's header promises is there."""
        return self._scan.complete

    def _read(self, sampling: Sampling) -> Iterator[Frame]:
        wanted = set(sampling.frames)
        pictures = self._pictures(sampling.frames[0], sampling.frames[-1], wanted)
        with closing(pictures):
            for number, index, image in held(sampling.frames, pictures, self._note_lost):
                yield Frame(image=image, time=sampling.time(number), index=index)

    def _pictures(
        self, first: int, last: int, wanted: set[int]
    ) -> Generator[tuple[int, Image], None, None]:
        """(index, picture) of those of the frames `first` to `last` that are in `wanted`."""
        make = PictureMaker(self._shape)
        passed = made = -1
        for index, frame in self._frames(first, last):
            passed = max(passed, index)
            if index in wanted and index > made:
                made = index
                yield index, _made(make, frame, self.path)
        if passed < last or made < 0:
            raise MediaError(
                f"{self.path} cannot be decoded after frame {max(passed, 0)} of "
                f"{self._scan.timeline.frames}; export or copy it again, or stop before with an "
                "end or fewer frames"
            )

    def _frames(self, first: int, last: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decoded frames from `first` (or a little before) to `last`, with their numbers."""
        if first and self._scan.timed:
            numbered = self._numbered(first)
            head = next(numbered, None)
            if head is not None and head[0] <= first:
                yield from _until(last, _chained(head, numbered))
                return
            numbered.close()  # the seek overshot: an unreliable index; go from the beginning
        yield from _until(last, self._numbered(0))

    def _numbered(self, first: int) -> Generator[tuple[int, av.VideoFrame], None, None]:
        ticks = self._scan.timeline.ticks
        with opened(self.path) as (container, stream):
            if first:
                container.seek(int(ticks[first]), stream=stream, backward=True)
            frames = _decode(container, stream)
            if self._shape.interlaced:
                frames = deinterlaced(frames)
            for count, frame in enumerate(frames):
                self.decoded += 1
                if not self._scan.timed:
                    yield count, frame
                elif frame.pts is not None:
                    index = int(np.searchsorted(ticks, frame.pts))
                    if index < len(ticks) and ticks[index] == frame.pts:
                        yield index, frame

    def _note_lost(self, lost: int) -> None:
        self.warnings += (
            f"{self.path}: {lost} damaged frame{'s' if lost > 1 else ''} could not be decoded; "
            "a neighbouring picture stands in",
        )


def check_reach(selection: FrameSelection, found: Scan, path: Path) -> None:
    """Raise MediaError if `selection` needs frames that a cut-off file has lost."""
    if found.complete:
        return
    timeline = found.timeline
    end = selection.end
    ends_before = (isinstance(end, int) and end <= timeline.frames) or (
        end is not None and not isinstance(end, int) and end <= timeline.end
    )
    if ends_before:
        return
    if selection.max_frames is not None:
        reach = sample(selection, timeline, str(path))
        if len(reach.frames) == selection.max_frames:
            return
    raise MediaError(
        f"{path} is cut off: its header promises {found.promised}, but only {timeline.frames} "
        f"frames ({float(timeline.end):.3f} s) are there; copy it again, or stop before the break "
        f"with an end of {timeline.frames}f"
    )


def held(
    frames: tuple[int, ...],
    pictures: Iterable[tuple[int, Image]],
    note_lost: Callable[[int], None],
) -> Iterator[tuple[int, int, Image]]:
    """(output number, source frame, picture) for each of `frames`, which never fall.

    Where a wanted picture is missing among `pictures` the one before stands in (at the very
    beginning, the one after), and `note_lost(count)` is called at the end.
    """
    arriving = iter(pictures)
    coming = next(arriving, None)
    shown: Image | None = None
    lost: set[int] = set()
    for number, wanted in enumerate(frames):
        while coming is not None and coming[0] < wanted:
            shown = coming[1]
            coming = next(arriving, None)
        if coming is not None and (coming[0] == wanted or shown is None):
            image = coming[1]
        else:
            assert shown is not None
            image = shown
        if coming is None or coming[0] != wanted:
            lost.add(wanted)
        yield number, wanted, image
    if lost:
        note_lost(len(lost))


def _decode(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    """All frames that can be decoded; damaged packets are left out."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:
            return  # a break in the file; the caller sees which frames did not come
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            continue
        for frame in frames:
            assert isinstance(frame, av.VideoFrame)
            yield frame


class _FirstFrame:
    """Decodes packets that pass by until one gives a picture: files are opened and read once."""

    def __init__(self) -> None:
        self._picture: av.VideoFrame | None = None
        self._fed = 0

    def feed(self, packet: av.Packet) -> None:
        """Decode a video packet unless a picture is there, or too many gave none."""
        enough = self._picture is not None or self._fed > _PACKETS_TO_FIRST_FRAME
        # In a damaged file a stream can turn into another kind while it is read.
        if enough or not isinstance(packet.stream, VideoStream):
            return
        self._fed += 1
        with suppress(av.error.FFmpegError):
            for frame in packet.decode():
                assert isinstance(frame, av.VideoFrame)
                self._picture = self._picture or frame

    def found(self, stream: VideoStream, path: Path) -> av.VideoFrame:
        """The picture. Raises MediaError if there was none."""
        if self._picture is None:
            raise MediaError(
                f"{path}: no frame of its {stream.codec_context.name} video can be decoded; "
                "export or copy it again"
            )
        return self._picture


def _made(make: PictureMaker, frame: av.VideoFrame, path: Path) -> Image:
    try:
        return make(frame)
    except (av.error.FFmpegError, ValueError) as error:
        raise MediaError(
            f"{path}: pixel format {frame.format.name} cannot be made into RGB ({error}); "
            "convert it to H.264"
        ) from error


def _until(
    last: int, numbered: Iterator[tuple[int, av.VideoFrame]]
) -> Iterator[tuple[int, av.VideoFrame]]:
    for index, frame in numbered:
        yield index, frame
        if index >= last:
            return


def _chained(
    head: tuple[int, av.VideoFrame], rest: Iterator[tuple[int, av.VideoFrame]]
) -> Iterator[tuple[int, av.VideoFrame]]:
    yield head
    yield from rest


def _info(
    container: InputContainer, stream: VideoStream, shape: Shape, found: Scan, path: Path
) -> VideoInfo:
    width, height = shape.upright
    timeline = found.timeline
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        fps=timeline.fps,
        frames=timeline.frames,
        duration=timeline.end,
        has_audio=bool(container.streams.audio),
        rotation=shape.rotation,
        mirrored=shape.mirrored,
        pixel_aspect=shape.pixel_aspect,
        variable_rate=not timeline.regular,
        interlaced=shape.interlaced,
        transfer=shape.transfer,
        container=container.format.name,
        codec=stream.codec_context.name,
        pixel_format=stream.pix_fmt or "",
        start=found.start,
    )


def _warnings(found: Scan, info: VideoInfo) -> tuple[str, ...]:
    notes = []
    if not found.complete:
        notes.append(f"{info.path} is cut off after {found.timeline.frames} frames")
    if not found.timed and info.path.suffix.lower() != ".avi":  # whose rate is a stated fact
        notes.append(f"{info.path} has no time stamps; {float(info.fps):g} frames/s are assumed")
    if info.variable_rate:
        ticks = found.timeline.ticks
        longest = max((int(b - a) for a, b in pairwise(ticks)), default=0)
        seconds = float(longest * found.timeline.time_base)
        notes.append(
            f"{info.path} has a variable frame rate (a frame lasts up to {seconds:.3f} s); "
            f"it is sampled by time at {float(info.fps):g} frames/s"
        )
    if info.transfer != "sdr":
        notes.append(f"{info.path} is HDR ({info.transfer}); it is tone-mapped to ordinary range")
    return tuple(notes)
