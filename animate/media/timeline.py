"""When each frame of a video is shown, and the rate that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

_STANDARD = tuple(
    rate
    for number in (24, 30, 48, 60, 120)
    for rate in (Fraction(number), Fraction(number * 1000, 1001))
) + tuple(Fraction(number) for number in (10, 12, 15, 25, 50, 100))
_SLOWEST = Fraction(1, 60)
"""Frames per second below which pictures are no motion."""
_FINE = 5
"""Ticks of a frame from which on one tick of rounding leaves its rate recognisable."""
_SAME_RATE = Fraction(1, 100_000)
"""Part by which a stated rate may miss a usual one that it stands for: headers round."""
_FAST_SHARE = 0.4
"""Part of the frames that must follow one another more quickly than the median for their pace to
count."""
_MUCH_SHORTER = 0.75
"""Share of the median gap below which another is no jitter."""
_LOOSE = Fraction(3, 4)
"""Spread of the frames about an even grid, in frames, up to which counting them is right."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Timeline:
    """The presentation times of all frames of a video, in the order in which they are shown."""

    ticks: np.ndarray
    """(frames,) int64: when each frame is shown, in units of `time_base`, strictly rising."""
    time_base: Fraction
    """Seconds of one tick."""
    fps: Fraction
    """Frames per second; of uneven frames, the rate of the typical one."""
    regular: bool
    """True if the frames lie evenly, so that counting them equals timing them."""
    end: Fraction
    """Seconds from the first frame to the end of the last."""

    @property
    def frames(self) -> int:
        """The number of frames."""
        return len(self.ticks)

    def time(self, index: int) -> Fraction:
        """Seconds after the first frame at which frame `index` is shown."""
        if self.regular:
            return index / self.fps
        return int(self.ticks[index] - self.ticks[0]) * self.time_base

    def frame_at(self, time: Fraction) -> int:
        """The frame shown `time` seconds after the first one."""
        if self.regular:
            return min(int(time * self.fps), self.frames - 1)
        offset = int(time / self.time_base)
        return int(np.searchsorted(self.ticks - self.ticks[0], offset, side="right")) - 1


def make_timeline(
    ticks: np.ndarray,
    time_base: Fraction,
    claimed: tuple[Fraction | None, ...],
    last_ticks: int | None = None,
) -> Timeline:
    """A timeline of sorted, distinct `ticks` (at least one).

    `claimed` are the rates that the file states, best first; they only count where they agree
    with the stamps. `last_ticks` is how long the last frame is shown, if the file says so.
    Raises ValueError, in words that go on from the file's name, if there is no rate of motion.
    """
    rates = tuple(_usual(rate) for rate in claimed if rate and 0 < rate <= 1000)
    fps, regular = _find_rate(ticks, time_base, rates, last_ticks)
    if fps < _SLOWEST:
        raise ValueError(f"shows a frame every {float(1 / fps):.0f} s, which is no motion")
    if regular:
        return Timeline(
            ticks=ticks, time_base=time_base, fps=fps, regular=True, end=len(ticks) / fps
        )
    last = last_ticks * time_base if last_ticks else 1 / fps
    end = int(ticks[-1] - ticks[0]) * time_base + last
    nearest = round(end * fps) / fps
    if abs(nearest - end) <= 2 * time_base:  # stamps are rounded to ticks
        end = nearest
    return Timeline(ticks=ticks, time_base=time_base, fps=fps, regular=False, end=end)


def _find_rate(
    ticks: np.ndarray, time_base: Fraction, claimed: tuple[Fraction, ...], last_ticks: int | None
) -> tuple[Fraction, bool]:
    if len(ticks) == 1:
        if not claimed and not last_ticks:
            raise ValueError("holds a single frame without a duration")
        return (claimed[0] if claimed else 1 / (last_ticks * time_base)), True  # type: ignore[operator]
    mean = (len(ticks) - 1) / (int(ticks[-1] - ticks[0]) * time_base)
    for rate in (*claimed, *_STANDARD):
        if _spread(ticks, time_base, rate) <= Fraction(1) + Fraction(1, 1000):
            return rate, True
    for rate in (*claimed, mean.limit_denominator(1001), mean):
        if rate and _spread(ticks, time_base, rate) * time_base * rate < _LOOSE:
            return rate, True
    return _typical_rate(_typical_gap(np.diff(ticks)), time_base, claimed), False


def _usual(rate: Fraction) -> Fraction:
    """The usual rate that a rounded one stands for, or `rate` itself."""
    near = (usual for usual in _STANDARD if abs(rate - usual) <= usual * _SAME_RATE)
    return next(near, rate)


def _typical_gap(gaps: np.ndarray) -> Fraction:
    """Ticks from a frame to the next, the mean of those like the median: cameras jitter.

    Of two quite different ones that are about as frequent it is the shorter, which drops no frame.
    """
    short, median = np.quantile(gaps, (_FAST_SHARE, 0.5), method="lower")
    usual = int(short if short < _MUCH_SHORTER * median else median)
    alike = gaps[np.abs(gaps - usual) <= max(1, usual / 10)]
    return Fraction(int(alike.sum()), len(alike))


def _typical_rate(gap: Fraction, time_base: Fraction, claimed: tuple[Fraction, ...]) -> Fraction:
    """The stated or usual rate whose frame lasts `gap` ticks, as exactly as a tick can say."""
    typical = 1 / (gap * time_base)
    slack = max(1 if gap >= _FINE else 0, gap / 100)
    for rates in (claimed, _STANDARD):
        misfits = {rate: abs(1 / (rate * time_base) - gap) for rate in rates}
        near = min(misfits, key=lambda rate: misfits[rate], default=None)
        if near is not None and misfits[near] < slack:
            return near
    return typical.limit_denominator(1001) or typical


def _spread(ticks: np.ndarray, time_base: Fraction, rate: Fraction) -> float:
    """Width of the band, in ticks, in which frames lie about an even grid of `rate`."""
    grid = np.arange(len(ticks)) * float(1 / (time_base * rate))
    away = (ticks - ticks[0]) - grid
    return float(away.max() - away.min())
