"""Look through a video file once, without decoding it: which frames are in it, and when.

Headers lie: cut-off files keep their promised frame count, screen recordings state an average
rate, joined files start their stamps again. Reading the packets costs little and tells when each
frame is shown, where the file breaks off and whether the decoders' counts may be believed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from animate.errors import MediaError
from animate.media.containers import DAMAGED, av_errors, breaks_off, picture_streams
from animate.media.timeline import Timeline, make_timeline

_MOST_REORDERED = 16
"""Frames by which decoders may delay a frame, by the H.264 and H.265 standards."""
_PACKETS_TO_FIRST_FRAME = 300
_RESTARTING = ("mpegts", "mpeg")
"""Formats of broadcasts, whose files are joined byte by byte."""
_BACKWARD, _FORWARD = Fraction(1, 2), Fraction(10)
"""Seconds by which the stamps of adjoining packets fall or rise where another file begins."""
_RAW = (
    *("h264", "hevc", "vvc", "obu", "mjpeg", "h261", "h263", "vc1", "m4v", "dirac", "cavsvideo"),
)
"""Streams without a container, whose stamps, where there are any, the library makes up."""
_DIRAC_HEADER = 13
"""Bytes of a Dirac unit's header; a packet of no more holds no picture but an end of sequence."""
_MOST_EMPTY = 100
"""Empty chunks for each one with a picture, above which a file is taken for damaged."""


@dataclass(frozen=True, kw_only=True)
class Joint:
    """The beginning of a further file that was joined to others."""

    seconds: Fraction
    """Seconds that are added to its stamps."""
    position: int
    """Byte at which its first packet of pictures begins."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """The frames of a video file by its packets."""

    stream: int
    """Index of the stream of pictures in the container."""
    number: int
    """Its number among the streams of pictures."""
    timeline: Timeline
    timed: bool
    """True if the file has time stamps; without, frames are counted and cannot be sought."""
    start: Fraction
    """Seconds on the file's clock of the first frame."""
    complete: bool
    """False for a file that was cut off."""
    promised: str
    """The header's promise in words, where the file does not keep it."""
    joints: tuple[Joint, ...] = ()
    """Where each further file begins that was joined to the first."""
    slots: tuple[int, ...] = ()
    """Numbers of the frames that hold a picture, where others repeat the one before (AVI)."""
    chosen_among: int = 1
    """Streams of pictures among which this one was chosen."""


@dataclass(frozen=True, slots=True)
class _Stamp:
    pts: int | None
    dts: int | None
    duration: int
    key: bool
    hidden: bool


@dataclass(kw_only=True)
class Splicer:
    """Puts the stamps of joined files one behind the other, in one stream of a container."""

    time_base: Fraction
    """Seconds of a tick of the stream."""
    known: tuple[Joint, ...] | None = None
    """The joints where another stream of the file decides them."""
    offsets: list[int] = field(default_factory=list)
    """Ticks that were added after each joint so far."""
    positions: list[int] = field(default_factory=list)
    """Bytes at which packets after each joint began."""
    _end: int | None = None
    _last: int | None = None

    def move(self, packet: av.Packet) -> None:
        """Change the packet's stamps in place."""
        if packet.dts is None:
            return
        raw, position = packet.dts, packet.pos or 0
        if self._last is not None and self._end is not None:
            jump = (raw - self._last) * self.time_base
            if jump < -_BACKWARD or jump > _FORWARD:
                self._join(self._end - raw, position)
        while self.known is not None and self._passed(self.known, position):
            self._join(0, position)  # a stream that is not in every file
        self._last, self._end = raw, raw + (packet.duration or 0) + self._current
        packet.dts = raw + self._current
        if packet.pts is not None:
            packet.pts += self._current

    @property
    def _current(self) -> int:
        return self.offsets[-1] if self.offsets else 0

    def _passed(self, known: tuple[Joint, ...], position: int) -> bool:
        passed = len(self.offsets)
        return passed < len(known) and position >= known[passed].position

    def _join(self, measured: int, position: int) -> None:
        if self.known is None:
            self.offsets.append(measured)
        elif len(self.offsets) < len(self.known):
            seconds = self.known[len(self.offsets)].seconds
            self.offsets.append(round(seconds / self.time_base))
        else:
            return
        self.positions.append(position)

    def joints(self) -> tuple[Joint, ...]:
        """The joints that were found."""
        return tuple(
            Joint(seconds=offset * self.time_base, position=position)
            for offset, position in zip(self.offsets, self.positions, strict=True)
        )


def splicer(
    container: InputContainer, time_base: Fraction | None, known: tuple[Joint, ...] | None = None
) -> Splicer | None:
    """A splicer for a stream of `container`, or None where stamps do not start again."""
    if container.format.name not in _RESTARTING or not time_base:
        return None
    return Splicer(time_base=time_base, known=known)


class _Track:
    """One stream of pictures as its packets pass by."""

    def __init__(self, stream: VideoStream, splices: Splicer | None) -> None:
        self.stream = stream
        self.stamps: list[_Stamp] = []
        self.picture: av.VideoFrame | None = None
        self.splices = splices
        self._fed = 0

    def add(self, packet: av.Packet) -> None:
        """Note a packet, decoding until a first picture comes."""
        self._look(packet)
        if packet.size == 0 or (packet.is_corrupt and self.splices is None):
            return
        if packet.size <= _DIRAC_HEADER and self.stream.codec_context.name == "dirac":
            return
        if self.splices is not None:  # broadcasts count a packet at a joint as corrupt
            self.splices.move(packet)
        self.stamps.append(
            _Stamp(
                packet.pts,
                packet.dts,
                packet.duration or 0,
                packet.is_keyframe,
                packet.is_discard,
            )
        )

    def _look(self, packet: av.Packet) -> None:
        enough = self.picture is not None or self._fed > _PACKETS_TO_FIRST_FRAME
        # In a damaged file a stream can turn into another kind while it is read.
        if enough or not isinstance(packet.stream, VideoStream):
            return
        self._fed += 1
        with suppress(av.error.FFmpegError):
            for frame in packet.decode():
                assert isinstance(frame, av.VideoFrame)
                self.picture = self.picture or frame

    @property
    def worth(self) -> tuple[bool, bool, int, int]:
        """Merits by which players choose: motion, the default, many frames, a large picture."""
        context = self.stream.codec_context
        usual = bool(self.stream.disposition & av.stream.Disposition.default)
        moving = len(self.stamps) > 1 and self.picture is not None
        return moving, usual, len(self.stamps), context.width * context.height


def scan(
    container: InputContainer, path: Path, stated: Fraction | None = None
) -> tuple[Scan, VideoStream, av.VideoFrame]:
    """Read all packets of `container`, choose its stream of pictures, and order its frames.

    `stated` is the rate that the user gives to a stream without one. Returns the stream and its
    first picture too. Raises MediaError if there is no frame, or none whose time can be told.
    """
    tracks = {
        stream.index: _Track(stream, splicer(container, stream.time_base))
        for stream in picture_streams(container, path)
    }
    for track in tracks.values():
        track.stream.thread_type = "SLICE"  # frame threads would decode several to give one
    latest = _read_packets(container, tracks, path)
    best = max(tracks.values(), key=lambda track: track.worth)
    name = best.stream.codec_context.name
    if best.picture is None:
        raise MediaError(
            f"{path}: no frame of its {name} video can be decoded; export or copy it again"
        )
    moving = sum(track.worth[0] for track in tracks.values())
    return _scanned(container, best, path, latest, stated, moving), best.stream, best.picture


def _read_packets(container: InputContainer, tracks: dict[int, _Track], path: Path) -> Fraction:
    """Show the tracks their packets; the latest end among all streams in seconds."""
    latest = Fraction(0)
    with av_errors(path, "breaks off while it is read", DAMAGED):
        for packet in container.demux():
            if packet.stream_index in tracks:
                tracks[packet.stream_index].add(packet)
            if packet.size and packet.pts is not None and packet.time_base:
                latest = max(latest, (packet.pts + (packet.duration or 0)) * packet.time_base)
    return latest


def _scanned(
    container: InputContainer,
    track: _Track,
    path: Path,
    latest: Fraction,
    stated: Fraction | None,
    moving: int,
) -> Scan:
    stream, stamps = track.stream, track.stamps
    complete, promised = _promise(container, stream, path, latest)
    visible = _visible(stamps if complete else _unbroken(stamps))
    if not visible:
        raise MediaError(f"{path} has no frame in its video stream; export or copy it again")
    # AVI has no time stamps; those that the library makes up are wrong for reordered frames.
    avi = "avi" in container.format.name
    raw = container.format.name in _RAW
    timed = not avi and not raw and all(stamp.pts is not None for stamp in visible)
    slots: tuple[int, ...] = ()
    try:
        if timed:
            timeline = _timed(visible, stream)
        elif avi:
            timeline, slots = _chunked(visible, stream)
        else:
            timeline = _counted(len(visible), stream, stated)
    except ValueError as error:
        raise MediaError(f"{path} {error}; convert it to mp4 with an even frame rate") from None
    return Scan(
        stream=stream.index,
        number=container.streams.video.index(stream),
        timeline=timeline,
        timed=timed,
        start=int(timeline.ticks[0]) * timeline.time_base if timed else Fraction(0),
        complete=complete,
        promised=promised,
        joints=track.splices.joints() if track.splices is not None else (),
        slots=slots,
        chosen_among=max(1, moving),
    )


def _unbroken(stamps: list[_Stamp]) -> list[_Stamp]:
    """Those of a file that breaks off which surely can be shown without holes.

    The last packet may be half there, and of frames that are stored out of order the break may
    have taken some that are shown before others which are left. A frame cannot be shown later
    than it is decoded, so all that are to be shown up to the last decoding time are there.
    """
    whole_packets = stamps[:-1]
    times = [stamp.pts for stamp in whole_packets if stamp.pts is not None]
    if times == sorted(times) or not whole_packets:
        return whole_packets
    last = whole_packets[-1].dts
    if last is None:
        return whole_packets[:-_MOST_REORDERED]
    return [stamp for stamp in whole_packets if stamp.pts is not None and stamp.pts <= last]


def _visible(stamps: list[_Stamp]) -> list[_Stamp]:
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


def _timed(visible: list[_Stamp], stream: VideoStream) -> Timeline:
    """The timeline of frames with stamps. Raises ValueError for a rate that cannot be."""
    if not stream.time_base:
        raise ValueError("states no clock for its frames")
    ticks = np.unique(np.array([stamp.pts for stamp in visible], np.int64))
    last = max(visible, key=lambda stamp: stamp.pts or 0)
    claimed = (stream.average_rate, stream.guessed_rate, stream.base_rate)
    return make_timeline(ticks, stream.time_base, claimed, last.duration)


def _chunked(visible: list[_Stamp], stream: VideoStream) -> tuple[Timeline, tuple[int, ...]]:
    """An AVI's even timeline, and the frames of it that hold a picture of their own.

    A chunk's number is its time; empty ones do not arrive, and repeat the frame before them.
    """
    rate = stream.average_rate or stream.guessed_rate
    if not rate:
        raise ValueError("states no rate for its frames")
    numbers = [stamp.dts for stamp in visible]
    if any(number is None for number in numbers) or len(set(numbers)) < len(numbers):
        slots = list(range(len(visible)))
    else:
        first = min(number for number in numbers if number is not None)
        slots = sorted(number - first for number in numbers if number is not None)
    if slots[-1] > _MOST_EMPTY * len(slots):
        raise ValueError(f"holds {len(slots)} frames where {slots[-1]} are counted")
    ticks = np.arange(slots[-1] + 1, dtype=np.int64)
    return make_timeline(ticks, 1 / rate, (rate,)), tuple(slots)


def _counted(frames: int, stream: VideoStream, stated: Fraction | None) -> Timeline:
    """The even timeline of a raw stream: at the stated rate, or that of its own headers."""
    headers = stream.codec_context.framerate
    rate = stated or headers or stream.guessed_rate or stream.average_rate
    if not rate:
        raise ValueError("states neither times nor a rate for its frames")
    return make_timeline(np.arange(frames, dtype=np.int64), 1 / rate, (rate,))


def _promise(
    container: InputContainer, stream: VideoStream, path: Path, latest: Fraction
) -> tuple[bool, str]:
    """False for a file that was cut off; and the header's promise in words if it is not kept."""
    cut = breaks_off(path, stream)
    if "mp4" in container.format.name:
        return not cut, f"{stream.frames} frames" if cut else ""
    stated = Fraction(0)
    if "matroska" in container.format.name:
        stated = Fraction(container.duration or 0, av.time_base)
    if "avi" in container.format.name and stream.average_rate:
        stated = stream.frames / stream.average_rate
    slack = 2 / stream.average_rate if stream.average_rate else Fraction(1, 10)
    missing = stated > latest + slack
    words = f"{float(stated):.3f} s" if cut or missing else ""
    return not cut, words
