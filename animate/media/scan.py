"""Look through a video file once, without decoding it: what is really there.

Headers lie: cut-off files keep their promised frame count, screen recordings state an average
rate. Reading the packets costs little and tells when each frame is shown, where the file breaks
off and whether the decoders' counts may be believed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from animate.errors import MediaError
from animate.files import check_readable
from animate.media.av_errors import av_errors, open_input
from animate.media.timeline import Timeline, make_timeline

_NOT_VIDEO = ("image2", "tty", "lrc", "hls", "concat", "dash")
_MOST_REORDERED = 16
"""Frames by which decoders may delay a frame, by the H.264 and H.265 standards."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """What the packets of a video file say."""

    timeline: Timeline
    timed: bool
    """Whether the file has time stamps; without, frames are counted and cannot be sought."""
    start: Fraction
    """Seconds on the file's clock of the first frame."""
    complete: bool
    """Whether everything that the header promises is there."""
    promised: str
    """The promise in words, for a message about a file that is not complete."""


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container at `path` and its video stream. Raises MediaError if it is not a video."""
    place = check_readable(path, "video", MediaError)
    with av_errors(place, "cannot be opened as a video", DAMAGED):
        container = open_input(place)
    try:
        yield container, _video_stream(container, place)
    finally:
        container.close()


DAMAGED = "it is damaged, cut off or not a video; export or copy it again"


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    name = container.format.name
    if name in _NOT_VIDEO or name.endswith("_pipe"):
        raise MediaError(f"{path} is no video (it reads as {name}); give a video file")
    covers = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & covers and stream.codec_context is not None:
            stream.thread_type = "AUTO"
            return stream
    sound = " (only sound)" if container.streams.audio else ""
    raise MediaError(f"{path} has no video stream{sound}; give a video file")


def scan(
    container: InputContainer,
    stream: VideoStream,
    path: Path,
    look: Callable[[av.Packet], None] = lambda packet: None,
) -> Scan:
    """Read all packets of `container` and put its video stream's frames in order.

    `look` is shown each packet of the video on the way, and the empty one at the end.
    Raises MediaError if there is no frame, or none whose time can be told.
    """
    stamps, found_end = _read_packets(container, stream, path, look)
    complete, promised = _promise(container, stream, len(stamps), found_end)
    shown = _shown(stamps if complete else _whole(stamps))
    if not shown:
        raise MediaError(f"{path} has no frame in its video stream; export or copy it again")
    claimed = (stream.average_rate, stream.guessed_rate, stream.base_rate)
    # AVI has no time stamps; those that the library makes up are wrong for reordered frames.
    timed = "avi" not in container.format.name and all(stamp.pts is not None for stamp in shown)
    try:
        timeline = _timeline(shown, stream, claimed, timed)
    except ValueError:
        raise MediaError(
            f"{path} states neither times nor a rate for its frames; convert it to mp4"
        ) from None
    start = int(timeline.ticks[0]) * timeline.time_base if timed else Fraction(0)
    return Scan(timeline=timeline, timed=timed, start=start, complete=complete, promised=promised)


@dataclass(frozen=True, slots=True)
class _Stamp:
    pts: int | None
    dts: int | None
    duration: int
    key: bool
    hidden: bool


def _read_packets(
    container: InputContainer,
    stream: VideoStream,
    path: Path,
    look: Callable[[av.Packet], None],
) -> tuple[list[_Stamp], Fraction]:
    """Stamps of the video's packets, and the latest end among all streams in seconds."""
    stamps: list[_Stamp] = []
    latest = Fraction(0)
    with av_errors(path, "breaks off while it is read", DAMAGED):
        for packet in container.demux():
            if packet.stream_index == stream.index:
                look(packet)
            if packet.size == 0:
                continue
            if packet.pts is not None and packet.time_base:
                latest = max(latest, (packet.pts + (packet.duration or 0)) * packet.time_base)
            if packet.stream_index == stream.index and not packet.is_corrupt:
                stamps.append(
                    _Stamp(
                        packet.pts,
                        packet.dts,
                        packet.duration or 0,
                        packet.is_keyframe,
                        packet.is_discard,
                    )
                )
    return stamps, latest


def _whole(stamps: list[_Stamp]) -> list[_Stamp]:
    """Those of a file that breaks off which surely can be shown without holes.

    The last packet may be half there, and of frames that are stored out of order the break may
    have taken some that are shown before others which are left. A frame cannot be shown later
    than it is decoded, so all that are to be shown up to the last decoding time are there.
    """
    kept = stamps[:-1]
    times = [stamp.pts for stamp in kept if stamp.pts is not None]
    if times == sorted(times) or not kept:
        return kept
    last = kept[-1].dts
    if last is None:
        return kept[:-_MOST_REORDERED]
    return [stamp for stamp in kept if stamp.pts is not None and stamp.pts <= last]


def _shown(stamps: list[_Stamp]) -> list[_Stamp]:
    """Those that a decoder which starts at the first key frame can show."""
    first = next((number for number, stamp in enumerate(stamps) if stamp.key), None)
    if first is None:
        return []
    earliest = stamps[first].pts
    return [
        stamp
        for stamp in stamps[first:]
        if not stamp.hidden and (earliest is None or stamp.pts is None or stamp.pts >= earliest)
    ]


def _timeline(
    shown: list[_Stamp],
    stream: VideoStream,
    claimed: tuple[Fraction | None, ...],
    timed: bool,
) -> Timeline:
    if timed and stream.time_base:
        ticks = np.unique(np.array([stamp.pts for stamp in shown], np.int64))
        last = max(shown, key=lambda stamp: stamp.pts or 0)
        return make_timeline(ticks, stream.time_base, claimed, last.duration)
    rate = next((rate for rate in claimed if rate), None)
    if rate is None:
        raise ValueError("neither stamps nor a rate")
    return make_timeline(np.arange(len(shown), dtype=np.int64), 1 / rate, (rate,))


def _promise(
    container: InputContainer, stream: VideoStream, found: int, found_end: Fraction
) -> tuple[bool, str]:
    """Whether the header's promise is kept, and the promise in words."""
    if "mp4" in container.format.name and stream.frames > found:
        return False, f"{stream.frames} frames"
    promised = Fraction(0)
    if "matroska" in container.format.name:
        promised = Fraction(container.duration or 0, av.time_base)
    if "avi" in container.format.name and stream.average_rate:
        promised = stream.frames / stream.average_rate
    slack = 2 / stream.average_rate if stream.average_rate else Fraction(1, 10)
    if promised > found_end + slack:
        return False, f"{float(promised):.3f} s"
    return True, ""
