"""Look through a video file once, without decoding it: which frames are in it, and when.

Headers lie: cut-off files keep their promised frame count, screen recordings state an average
rate, joined files start their stamps again. Reading the packets costs little and tells when each
frame is shown, where the file breaks off and whether the decoders' counts may be believed.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from animate.errors import MediaError
from animate.media.containers import DAMAGED, av_errors, crop_exactly, picture_streams
from animate.media.joints import Joint, Splicer, joint_finder
from animate.media.structure import breaks_off, further_heads
from animate.media.timeline import Timeline, make_timeline

_MOST_REORDERED = 16
"""Frames by which decoders may delay a frame, by the H.264 and H.265 standards."""
_PACKETS_TO_FIRST_FRAME = 300
_RAW = (
    *("h264", "hevc", "vvc", "obu", "mjpeg", "h261", "h263", "vc1", "m4v", "dirac", "cavsvideo"),
    "dnxhd",
)
"""Streams without a container, whose stamps, where there are any, the library makes up."""
_DIRAC_HEADER = 13
"""Bytes of a Dirac unit's header; a packet of no more holds no picture but an end of sequence."""
_MOST_EMPTY = 100
"""Empty chunks for each one with a picture, above which a file is taken for damaged."""


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
    streams: int = 1
    """Streams of pictures that are no covers."""
    unread: int = 0
    """Further files that were joined to the first and are not read."""
    chosen_among: int = 1
    """Streams of pictures among which this one was chosen."""


@dataclass(frozen=True, slots=True)
class _Stamp:
    pts: int | None
    dts: int | None
    duration: int
    key: bool
    hidden: bool


class _Track:
    """One stream of pictures as its packets pass by."""

    def __init__(self, stream: VideoStream, splices: Splicer | None) -> None:
        self.stream = stream
        self.stamps: list[_Stamp] = []
        self.pictures: dict[int, av.VideoFrame] = {}
        """The first picture of each of the files that are joined, as far as there is one."""
        self.splices = splices
        self._fed: Counter[int] = Counter()
        self._begins: dict[int, int | None] = {}

    def add(self, packet: av.Packet) -> None:
        """Note a packet, decoding until a first picture comes, of each file that is joined."""
        if self.splices is not None and packet.size:
            self.splices.move(packet)
        self._look(packet)
        # Broadcasts count a packet at a joint as corrupt.
        if packet.size == 0 or (packet.is_corrupt and self.splices is None):
            return
        if packet.size <= _DIRAC_HEADER and self.stream.codec_context.name == "dirac":
            return
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
        part = 0 if self.splices is None else len(self.splices.offsets)
        enough = part in self.pictures or self._fed[part] > _PACKETS_TO_FIRST_FRAME
        # In a damaged file a stream can turn into another kind while it is read.
        if enough or not isinstance(packet.stream, VideoStream):
            return
        self._fed[part] += 1
        begin = self._begins.setdefault(part, packet.pts)
        with suppress(av.error.FFmpegError):
            for frame in packet.decode():
                assert isinstance(frame, av.VideoFrame)
                # A picture may have been held back from the file before, or be made of nothing by
                # a decoder of another kind.
                late = frame.pts is not None and begin is not None and frame.pts < begin
                if not part or not (late or frame.is_corrupt):
                    self.pictures.setdefault(part, frame)

    @property
    def joints(self) -> tuple[Joint, ...]:
        """Where further files begin."""
        return self.splices.joints() if self.splices is not None else ()

    @property
    def picture(self) -> av.VideoFrame | None:
        """The first picture, if there is one."""
        return self.pictures.get(0)

    @property
    def strange(self) -> int | None:
        """Number, from 1, of a joined file of which no picture can be decoded; or None."""
        parts = (part for part, fed in self._fed.items() if fed > _MOST_REORDERED)
        return next((part + 1 for part in parts if part not in self.pictures), None)

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
        stream.index: _Track(stream, joint_finder(container, stream.time_base, path))
        for stream in picture_streams(container, path)
    }
    for track in tracks.values():
        crop_exactly(track.stream)
        track.stream.thread_type = "SLICE"  # frame threads would decode several to give one
    latest = _read_packets(container, tracks, path)
    best = max(tracks.values(), key=lambda track: track.worth)
    name = best.stream.codec_context.name
    if best.picture is None:
        raise MediaError(
            f"{path}: no frame of its {name} video can be decoded; export or copy it again"
        )
    if best.strange is not None:
        raise MediaError(
            f"{path} is {len(best.joints) + 1} files in one, and the {name} video of the first is "
            f"not that of number {best.strange}; take them apart, or convert all to one kind "
            "before they are joined"
        )
    moving = sum(track.worth[0] for track in tracks.values())
    counts = len(tracks), moving
    return _scanned(container, best, path, latest, stated, counts), best.stream, best.picture


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
    counts: tuple[int, int],
) -> Scan:
    """`counts` are the streams of pictures, and those of them that move."""
    stream, stamps = track.stream, track.stamps
    complete, promised = _promise(container, stream, path, latest)
    visible = _visible(stamps if complete else _unbroken(stamps), track.picture)
    if not visible:
        raise MediaError(f"{path} has no frame in its video stream; export or copy it again")
    # AVI has no time stamps; those that the library makes up are wrong for reordered frames.
    avi = "avi" in container.format.name
    raw = container.format.name in _RAW or (
        container.format.name == "mpegvideo" and _steady(visible)
    )
    timed = not avi and not raw and all(stamp.pts is not None for stamp in visible)
    slots: tuple[int, ...] = ()
    try:
        if timed:
            timeline = _timed(visible, stream)
        elif avi:
            timeline, slots = _chunked(visible, stream, latest if complete else Fraction(0))
        else:
            timeline = _counted(len(visible), stream, stated)
    except ValueError as error:
        raise MediaError(f"{path} {error}; convert it to mp4 with an even frame rate") from None
    streams, moving = counts
    return Scan(
        stream=stream.index,
        number=container.streams.video.index(stream),
        timeline=timeline,
        timed=timed,
        start=int(timeline.ticks[0]) * timeline.time_base,
        complete=complete,
        promised=promised,
        joints=track.joints,
        slots=slots,
        streams=streams,
        unread=0 if track.joints else len(further_heads(path, container.format.name)),
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


def _visible(stamps: list[_Stamp], picture: av.VideoFrame | None) -> list[_Stamp]:
    """Those that a decoder which starts at the first key frame can show.

    Those before that frame, which are stored behind it, may need a frame that is not there; where
    they need none, one of them is the first `picture`.
    """
    first = next((number for number, stamp in enumerate(stamps) if stamp.key), None)
    if first is None:
        return []
    earliest = stamps[first].pts
    if earliest is not None and picture is not None and picture.pts is not None:
        earliest = earliest if picture.is_corrupt else min(earliest, picture.pts)
    return [
        stamp
        for stamp in stamps[first:]
        if not stamp.hidden and (earliest is None or stamp.pts is None or stamp.pts >= earliest)
    ]


def _steady(visible: list[_Stamp]) -> bool:
    """True for the decoding times of frames that last alike, which films at 24 frames/s do not.

    Of a raw stream the library counts these; those at which its first frames are shown are wrong.
    """
    times = [stamp.dts for stamp in visible if stamp.dts is not None]
    return len(times) == len(visible) and len(set(np.diff(times).tolist())) <= 1


def _timed(visible: list[_Stamp], stream: VideoStream) -> Timeline:
    """The timeline of frames with stamps. Raises ValueError for a rate that cannot be."""
    if not stream.time_base:
        raise ValueError("states no clock for its frames")
    ticks = np.unique(np.array([stamp.pts for stamp in visible], np.int64))
    last = max(visible, key=lambda stamp: stamp.pts or 0)
    claimed = (stream.average_rate, stream.guessed_rate, stream.base_rate)
    return make_timeline(ticks, stream.time_base, claimed, last.duration)


def _chunked(
    visible: list[_Stamp], stream: VideoStream, latest: Fraction
) -> tuple[Timeline, tuple[int, ...]]:
    """An AVI's even timeline, and the frames of it that hold a picture of their own.

    A chunk's number is the time at which it is decoded, and pictures come out as many frames later
    as the decoder holds back. Empty chunks do not arrive, and repeat the frame before them: those
    at the end too, where other streams last until the end that the header states (`latest`).
    """
    rate = stream.average_rate or stream.guessed_rate
    if not rate:
        raise ValueError("states no rate for its frames")
    numbers = [stamp.dts for stamp in visible if stamp.dts is not None]
    if len(set(numbers)) < len(visible):
        numbers = list(range(len(visible)))
    held_back = stream.codec_context.reorder_depth
    slots = sorted(numbers)
    slots = [*slots[held_back:], *(slots[-1] + 1 + count for count in range(held_back))]
    slots = slots[len(slots) - len(numbers) :]  # of a file of fewer frames than are held back
    last = slots[-1]
    if last < stream.frames + held_back and stream.frames / rate <= latest:
        last = stream.frames + held_back - 1
    if last - slots[0] > _MOST_EMPTY * len(slots):
        raise ValueError(f"holds {len(slots)} frames where {last - slots[0]} are counted")
    ticks = np.arange(slots[0], last + 1, dtype=np.int64)
    return make_timeline(ticks, 1 / rate, (rate,)), tuple(slot - slots[0] for slot in slots)


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
        return not cut, f"{stream.frames} frames" if cut and stream.frames else ""
    stated = Fraction(0)
    if "matroska" in container.format.name:
        stated = Fraction(container.duration or 0, av.time_base)
    if "avi" in container.format.name and stream.average_rate:
        stated = stream.frames / stream.average_rate
    slack = 2 / stream.average_rate if stream.average_rate else Fraction(1, 10)
    missing = stated > latest + slack
    words = f"{float(stated):.3f} s" if stated and (cut or missing) else ""
    return not cut, words
