"""Which frames of a video are used, and the exact rate of what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from animate.errors import MediaError, RequestError
from animate.media.info import VideoInfo
from animate.media.timeline import Timeline

Moment = int | Fraction
"""A place in a video: an int counts its frames from 0, a Fraction is seconds from its start."""

_LONG, _LONGEST_HELD = 100_000, 1000
"""Frames that come out, beyond which each frame of the source may be held for so many of them."""
FASTEST, SLOWEST = Fraction(1000), Fraction(1, 3600)
"""Frames per second beyond which a rate is taken for a slip."""


@dataclass(frozen=True, kw_only=True)
class FrameSelection:
    """The part of a video that is used. Only that part is decoded.

    Floats given for seconds or a rate become the Fraction of their decimal digits.
    Raises RequestError if a value is impossible.
    """

    stride: int = 1
    """Every how many-th frame is used, at the rate divided by it; time keeps its pace."""
    start: Moment | None = None
    """First frame: int a frame number, Fraction seconds; None is the beginning."""
    end: Moment | None = None
    """The end, itself left out: int a frame number, Fraction seconds; None is the end."""
    max_frames: int | None = None
    """Most frames that come out (after the stride); None is no limit."""
    fps: Fraction | None = None
    """Rate to sample the video at by time, before the stride; None is the video's own."""

    def __post_init__(self) -> None:
        for name in ("stride", "max_frames"):
            value = getattr(self, name)
            if value is None and name == "max_frames":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise RequestError(f"{name} must be a whole number of at least 1, not {value!r}")
        for name in ("start", "end"):
            object.__setattr__(self, name, _moment(name, getattr(self, name)))
        object.__setattr__(self, "fps", _rate(self.fps))
        if type(self.start) is type(self.end) is not type(None) and not self.start < self.end:  # type: ignore[operator]
            raise RequestError(f"start {self.start} is not before end {self.end}")

    def output_fps(self, info: VideoInfo) -> Fraction:
        """Frames per second of what comes out, exact: the rate divided by the stride."""
        return (self.fps or info.fps) / self.stride


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """A selection worked out for one video: which source frame fills each frame that comes out."""

    frames: tuple[int, ...]
    """Number of the source's frame for each output frame; never falls, repeats where held."""
    fps: Fraction
    """Output frames per second."""
    start: Fraction
    """Seconds after the source's first frame at which the first output frame is shown."""

    @property
    def duration(self) -> Fraction:
        """Seconds that the output lasts."""
        return len(self.frames) / self.fps

    def time(self, index: int) -> Fraction:
        """Seconds after the source's first frame at which output frame `index` is shown."""
        return self.start + index / self.fps


def sample(selection: FrameSelection, timeline: Timeline, name: str) -> Sampling:
    """Work out `selection` on a video's timeline; `name` is the file, for messages.

    Evenly spaced frames are counted. Others, and a wanted rate, are sampled at even times: each
    takes the latest frame shown up to half a frame later, so that jitter neither drops nor
    repeats one. Raises MediaError if nothing is selected, RequestError for a rate beyond reason.
    """
    first = _first_frame(selection.start, timeline, name)
    start = timeline.time(first)
    end = _end_time(selection.end, timeline)
    rate = selection.fps or timeline.fps
    if timeline.regular and rate == timeline.fps:
        stop = _end_frame(selection.end, timeline)
        frames = tuple(range(first, stop, selection.stride)[: selection.max_frames])
    else:
        frames = _by_time(selection, timeline, start, end, name)
    if not frames:
        raise MediaError(
            f"{name}: nothing lies between start and end ({_words(selection.start)} to "
            f"{_words(selection.end)}); it lasts {float(timeline.end):.3f} s"
        )
    fps = rate / selection.stride
    if fps < SLOWEST:
        raise RequestError(
            f"{name}: with a stride of {selection.stride} at {float(rate):g} frames/s each frame "
            f"would be shown for more than {float(1 / SLOWEST):.0f} s; choose a smaller stride"
        )
    return Sampling(frames=frames, fps=fps, start=start)


def _by_time(
    selection: FrameSelection, timeline: Timeline, start: Fraction, end: Fraction, name: str
) -> tuple[int, ...]:
    fps = (selection.fps or timeline.fps) / selection.stride
    count = max(0, -((start - end) * fps // 1))  # ceiling: frames that begin before the end
    count = min(count, selection.max_frames or count)
    if count > max(_LONG, _LONGEST_HELD * timeline.frames):
        raise MediaError(
            f"{name}: its {timeline.frames} frames are shown for {float(end - start):.0f} s, which "
            "is no motion; a damaged time stamp may stretch it: choose a part of it with --start "
            "and --end, or --max-frames"
        )
    slack = min(1 / timeline.fps, 1 / fps) / 2
    offsets = np.array(
        [int((start + slack + index / fps) / timeline.time_base) for index in range(count)],
        np.int64,
    )
    indices = np.searchsorted(timeline.ticks - timeline.ticks[0], offsets, side="right") - 1
    return tuple(int(index) for index in indices)


def _first_frame(start: Moment | None, timeline: Timeline, name: str) -> int:
    late = (
        f"{name}: start {_words(start)} is behind its end "
        f"({timeline.frames} frames, {float(timeline.end):.3f} s)"
    )
    if isinstance(start, int):
        if start >= timeline.frames:
            raise MediaError(late)
        return start
    if start is None:
        return 0
    if start >= timeline.end:
        raise MediaError(late)
    return timeline.frame_at(start + 1 / timeline.fps / 2)


def _end_frame(end: Moment | None, timeline: Timeline) -> int:
    """The first frame that is left out, of an even timeline."""
    if end is None:
        return timeline.frames
    if isinstance(end, int):
        return min(end, timeline.frames)
    return min(timeline.frames, -(-end * timeline.fps // 1))


def _end_time(end: Moment | None, timeline: Timeline) -> Fraction:
    if isinstance(end, int):
        return timeline.time(end) if end < timeline.frames else timeline.end
    return timeline.end if end is None else min(end, timeline.end)


def _moment(name: str, value: object) -> Moment | None:
    if isinstance(value, float) and np.isfinite(value):
        value = Fraction(str(value))
    if value is not None and (not isinstance(value, (int, Fraction)) or isinstance(value, bool)):
        raise RequestError(f"{name} must be a frame number or seconds, not {value!r}")
    if value is not None and value < 0:
        raise RequestError(f"{name} must not be negative, not {value}")
    return value


def _rate(value: object) -> Fraction | None:
    if value is None:
        return None
    try:
        rate = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise RequestError(f"--fps must be a number or a fraction, not {value!r}") from None
    if not SLOWEST <= rate <= FASTEST:
        raise RequestError(f"--fps must be at least {SLOWEST} and at most {FASTEST}, not {value}")
    return rate


def _words(moment: Moment | None) -> str:
    if moment is None:
        return "the edge"
    return f"frame {moment}" if isinstance(moment, int) else f"{float(moment):g} s"
