"""Files joined byte by byte: where each begins, and stamps that rise through all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer

from animate.media.structure import further_heads

_RESTARTING = ("mpegts", "mpeg")
"""Formats of broadcasts, which have no head: another file shows by its stamps alone."""
_HEADED = "matroska"
"""A format whose files begin with a head that the library reads over."""
_BACKWARD, _FORWARD = Fraction(1, 2), Fraction(10)
"""Seconds by which the stamps of adjoining packets fall or rise where another file begins."""


@dataclass(frozen=True, kw_only=True)
class Joint:
    """The beginning of a further file that was joined to others."""

    seconds: Fraction
    """Seconds that are added to its stamps."""
    position: int
    """Byte at which its first packet of pictures begins."""


@dataclass(frozen=True, kw_only=True)
class _Ends:
    """Ticks at which the packets so far end."""

    shown: int
    """When the last of their pictures ends."""
    decoded: int
    """When the next one is due to be decoded."""

    @classmethod
    def behind(cls, packet: av.Packet, before: _Ends | None) -> _Ends:
        """The ends after `packet`, which came after those that end at `before`."""
        dts = packet.pts if packet.dts is None else packet.dts
        pts = dts if packet.pts is None else packet.pts
        assert pts is not None
        assert dts is not None
        lasts = packet.duration or 0
        shown = pts + lasts if before is None else max(before.shown, pts + lasts)
        return cls(shown=shown, decoded=dts + lasts)

    def offset(self, packet: av.Packet) -> int:
        """Ticks to add to the stamps of `packet`, the first of a further file."""
        if packet.pts is not None and (packet.is_keyframe or packet.dts is None):
            return self.shown - packet.pts
        return self.decoded - (packet.dts or 0)  # it begins between key frames


@dataclass(kw_only=True)
class Splicer:
    """Puts the stamps of joined files one behind the other, in one stream of a container."""

    time_base: Fraction
    """Seconds of a tick of the stream."""
    known: tuple[Joint, ...] | None = None
    """The joints, where they have been found before."""
    heads: tuple[int, ...] | None = None
    """Bytes at which further files begin; None where the stamps must tell it."""
    offsets: list[int] = field(default_factory=list)
    """Ticks that were added after each joint so far."""
    positions: list[int] = field(default_factory=list)
    """Bytes at which packets after each joint began."""
    _ends: _Ends | None = None
    _last: int | None = None

    def move(self, packet: av.Packet) -> None:
        """Change the packet's stamps in place."""
        if packet.pts is None and packet.dts is None:
            return
        position = packet.pos or 0
        if self._begins(packet.dts, position) and self._ends is not None:
            self._join(self._ends.offset(packet), position)
        while self.known is not None and self._passed(self.known, position):
            self._join(0, position)  # a stream that is not in every file
        if packet.dts is not None:
            self._last = packet.dts
            packet.dts += self._current
        if packet.pts is not None:
            packet.pts += self._current
        self._ends = _Ends.behind(packet, self._ends)

    @property
    def _current(self) -> int:
        return self.offsets[-1] if self.offsets else 0

    def _begins(self, dts: int | None, position: int) -> bool:
        """True for the first packet of a further file, decoded at `dts` on its own clock."""
        if self.heads is not None:
            passed = len(self.offsets)
            return passed < len(self.heads) and position > self.heads[passed]
        if self._last is None or dts is None:
            return False
        jump = (dts - self._last) * self.time_base
        return jump < -_BACKWARD or jump > _FORWARD

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
    container: InputContainer, time_base: Fraction | None, known: tuple[Joint, ...]
) -> Splicer | None:
    """A splicer of `known` joints for a stream of `container`; None where there is none."""
    if not time_base or not known:
        return None
    heads = () if _HEADED in container.format.name else None
    return Splicer(time_base=time_base, known=known, heads=heads)


def joint_finder(
    container: InputContainer, time_base: Fraction | None, path: Path
) -> Splicer | None:
    """A splicer that finds the joints of a stream; None for formats that are not joined."""
    name = container.format.name
    if not time_base:
        return None
    if name in _RESTARTING:
        return Splicer(time_base=time_base)
    if _HEADED in name and (heads := further_heads(path, name)):
        return Splicer(time_base=time_base, heads=heads)
    return None
