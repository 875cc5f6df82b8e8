"""The driving video's sound beside the pictures that are written.

Packets are copied unchanged where the container takes their codec and they cover the selection;
otherwise the sound is decoded, cut or filled with silence to the sample, and encoded again. Either
way it begins with the first picture and ends with the last, to within one frame.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer

from animate.errors import MediaError
from animate.media.containers import DAMAGED, av_errors, open_input, sound_stream
from animate.media.joints import Joint, splicer

_COPIED = {
    "mp4": {"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"},
    "mov": {"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s24le"},
    "matroska": {
        *("aac", "mp3", "ac3", "eac3", "opus", "vorbis", "flac", "alac", "dts", "truehd"),
        *("pcm_s16le", "pcm_s24le"),
    },
    "webm": {"opus", "vorbis"},
    "avi": {"mp3", "ac3", "pcm_s16le"},
}
"""Sound codecs that common players accept in each container format."""
_ENCODERS = {"webm": ("libopus", "s16"), "avi": ("pcm_s16le", "s16")}
_DEFAULT_ENCODER = ("aac", "fltp")
_KEEPS_NEGATIVE = ("mp4", "mov")
"""Formats that hide sound before the first picture behind an edit list."""
_SEEK_MARGIN = Fraction(1, 5)
_JITTER = Fraction(1, 50)
"""Seconds by which stamps of adjoining decoded sound may disagree without a cut or a filling."""
_ROUNDING = Fraction(1, 400)
"""The same for files joined to one, where each begins with its own pictures."""
_BITS_PER_CHANNEL = 96_000
_TRIED_PACKETS = 20
"""Packets of each joined file from which something must be heard."""


@dataclass(frozen=True, kw_only=True)
class AudioSource:
    """A stretch of the sound of a file."""

    path: Path
    """The file with the sound."""
    track: int | None = None
    """Index of its stream in the file; None takes the one that players choose."""
    start: Fraction = Fraction(0)
    """Seconds on the file's own clock that fall on the first picture."""
    duration: Fraction | None = None
    """Seconds of the pictures it goes with, to see whether the sound covers them; None: unknown."""
    joints: tuple[Joint, ...] = ()
    """Where each further file begins that was joined to the first in it."""


class Track(Protocol):
    """Sound on its way into a container, kept in step with the pictures."""

    summary: str
    """"copied" or "re-encoded", the codec, and the reason."""

    def advance(self, until: Fraction) -> None:
        """Write the sound of the seconds before `until`."""

    def finish(self, end: Fraction) -> None:
        """Write the rest, so that the sound ends at `end` seconds."""

    def close(self) -> None:
        """Let go of the source file."""


def open_track(source: AudioSource, container: OutputContainer, frame: Fraction) -> Track:
    """Add a sound stream to `container`, whose pictures last `frame` seconds each.

    Raises MediaError if the source has no sound that can be read.
    """
    with av_errors(source.path, "cannot be opened for its sound", "leave the sound out"):
        file = open_input(source.path)
    try:
        stream = _audio_stream(file, source)
        reason = _why_not_copied(source, stream, container.format.name, frame)
        if reason is None:
            return _Copied(source, file, stream, container)
        return _Encoded(source, file, stream, container, reason)
    except BaseException:
        file.close()
        raise


def _audio_stream(container: InputContainer, source: AudioSource) -> AudioStream:
    if source.track is None:
        stream: object = sound_stream(container)
    else:
        stream = container.streams[source.track]
    if not isinstance(stream, AudioStream) or stream.codec_context is None:
        raise MediaError(f"{source.path} has no sound that can be read; use --no-audio")
    return stream


def _why_not_copied(
    source: AudioSource, stream: AudioStream, form: str, frame: Fraction
) -> str | None:
    codec = stream.codec_context.codec.canonical_name
    if source.joints:
        return "it comes from several files joined to one"
    if codec not in _COPIED.get(form, ()):
        return f"{form} does not take {codec}"
    base = stream.time_base or Fraction(1, av.time_base)
    if form not in _KEEPS_NEGATIVE and source.start > (stream.start_time or 0) * base:
        return f"{form} cannot begin inside a packet of sound"
    begin, end, rising = _covered(source, stream)
    if not rising:
        return "the time stamps of its packets do not rise"
    if source.duration is None:
        return None
    if begin > frame or end < source.duration - frame:
        return "the sound is shorter than the pictures; silence fills it"
    return None


def _covered(source: AudioSource, stream: AudioStream) -> tuple[Fraction, Fraction, bool]:
    """Seconds after the first picture at which the sound begins and ends (looked up to its end);
    and whether each packet begins after the one before it."""
    begin: Fraction | None = None
    latest: Fraction | None = None
    end = Fraction(0)
    rising = True
    for _, first, last in _packets(source, stream):
        begin = first if begin is None else min(begin, first)
        rising = rising and (latest is None or first > latest)
        latest, end = first, max(end, last)
        if source.duration is not None and end >= source.duration:
            break
    return (Fraction(10**9) if begin is None else begin), end, rising


def _packets(
    source: AudioSource, stream: AudioStream
) -> Iterator[tuple[av.Packet, Fraction, Fraction]]:
    """Packets from the first one that sounds after the start; with begin and end in seconds.

    The one before it is yielded too: decoders blend each packet with the one before it.
    """
    container = stream.container
    assert isinstance(container, InputContainer)
    base = stream.time_base or Fraction(1, av.time_base)
    target = max(Fraction(0), source.start - _SEEK_MARGIN)
    splices = splicer(container, stream.time_base, source.joints)
    if not source.joints:
        with suppress(av.error.FFmpegError):
            container.seek(int(target / base), stream=stream, backward=True)
    before: tuple[av.Packet, Fraction, Fraction] | None = None
    with suppress(av.error.FFmpegError):  # a break: the rest is silence
        for packet in container.demux(stream):
            if packet.size == 0 or packet.pts is None:
                continue
            if splices is not None:
                splices.move(packet)
            assert packet.pts is not None
            begin = packet.pts * base - source.start
            entry = packet, begin, begin + (packet.duration or 0) * base
            if entry[2] <= 0:
                before = entry
                continue
            if before is not None:
                yield before
                before = None
            yield entry


class _Copied:
    """Sound whose packets go over unchanged but for their stamps."""

    def __init__(
        self,
        source: AudioSource,
        file: InputContainer,
        stream: AudioStream,
        container: OutputContainer,
    ) -> None:
        self.summary = f"copied {stream.codec_context.codec.canonical_name}"
        self._file, self._container = file, container
        self._out = container.add_stream_from_template(stream)
        base = stream.time_base
        assert base is not None
        self._base: Fraction = base
        self._shift = round(source.start / base)
        self._packets = _packets(source, stream)
        self._next = next(self._packets, None)

    def advance(self, until: Fraction) -> None:
        while self._next is not None and self._next[1] < until:
            self._mux(self._next[0])
            self._next = next(self._packets, None)

    def finish(self, end: Fraction) -> None:
        while self._next is not None and self._next[1] < end:
            packet, begin, last = self._next
            if last > end:  # the container then states the very end of the pictures
                packet.duration = max(1, int((end - begin) / self._base))
            self._mux(packet)
            self._next = next(self._packets, None)

    def close(self) -> None:
        self._file.close()

    def _mux(self, packet: av.Packet) -> None:
        assert packet.pts is not None
        packet.pts -= self._shift
        packet.dts = packet.pts
        packet.stream = self._out
        with suppress(av.error.InvalidDataError):  # a damaged packet: that moment is silent
            self._container.mux(packet)


class _Encoded:
    """Sound that is decoded, fitted to the pictures by the sample and encoded again."""

    def __init__(
        self,
        source: AudioSource,
        file: InputContainer,
        stream: AudioStream,
        container: OutputContainer,
        reason: str,
    ) -> None:
        encoder, form = _ENCODERS.get(container.format.name, _DEFAULT_ENCODER)
        self._file, self._container = file, container
        layout = "mono" if stream.codec_context.channels == 1 else "stereo"
        self._rate = 48_000 if encoder == "libopus" else _usual_rate(stream.codec_context.rate)
        out = container.add_stream(encoder, rate=self._rate, layout=layout)
        assert isinstance(out, AudioStream)
        self._out = out
        self._channels = 1 if layout == "mono" else 2
        if encoder != "pcm_s16le":
            self._out.bit_rate = _BITS_PER_CHANNEL * self._channels
        self._form, self._layout = form, layout
        self.summary = (
            f"re-encoded {stream.codec_context.codec.canonical_name} to {encoder}: {reason}"
        )
        self._jitter = _ROUNDING if source.joints else _JITTER
        self._pieces = self._decode(source, stream)
        self._waiting = next(self._pieces, None)
        self._written = 0

    def advance(self, until: Fraction) -> None:
        while self._waiting is not None and Fraction(self._waiting[0], self._rate) < until:
            self._write(*self._waiting)
            self._waiting = next(self._pieces, None)

    def finish(self, end: Fraction) -> None:
        total = round(end * self._rate)
        while self._waiting is not None and self._waiting[0] < total:
            position, samples = self._waiting
            self._write(position, samples[:, : total - position])
            self._waiting = next(self._pieces, None)
        self._silence(total)
        self._container.mux(self._out.encode(None))

    def close(self) -> None:
        self._file.close()

    def _decode(self, source: AudioSource, stream: AudioStream) -> Iterator[tuple[int, np.ndarray]]:
        """(first sample's number from the first picture on, (channels, n) samples).

        Of packets that state one time, or an earlier one, each follows the one before it; but a
        file that was joined to another begins with its pictures, whatever it then covers.
        """
        begin, end = None, 0
        resampler: av.AudioResampler | None = None
        kind: object = None
        for packet, _, _ in _packets(source, stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue  # its time is filled with silence
            for frame in frames:
                assert isinstance(frame, av.AudioFrame)
                shape = (frame.sample_rate, frame.layout.name, frame.format.name)
                if resampler is None or shape != kind:  # broadcasts change within
                    kind, resampler = shape, self._resampler()
                for even in resampler.resample(frame):
                    if even.pts is not None and even.time_base:
                        position = round((even.pts * even.time_base - source.start) * self._rate)
                        if begin is not None and position <= begin and not source.joints:
                            position = end
                        begin, end = position, position + even.samples
                        yield position, _planar(even, self._channels)

    def _resampler(self) -> av.AudioResampler:
        return av.AudioResampler(format=self._form, layout=self._layout, rate=self._rate)

    def _write(self, position: int, samples: np.ndarray) -> None:
        behind = self._written - position
        if abs(behind) > self._jitter * self._rate or position < 0:
            if behind > 0:
                samples = samples[:, behind:]
            else:
                self._silence(position)
        self._encode(samples)

    def _silence(self, until: int) -> None:
        while self._written < until:
            count = min(self._rate, until - self._written)
            kind = np.float32 if self._form == "fltp" else np.int16
            self._encode(np.zeros((self._channels, count), kind))

    def _encode(self, samples: np.ndarray) -> None:
        if samples.shape[1] == 0:
            return
        array = samples if self._form == "fltp" else samples.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(array), format=self._form, layout=self._layout
        )
        frame.sample_rate = self._rate
        frame.time_base = Fraction(1, self._rate)
        frame.pts = self._written
        self._written += samples.shape[1]
        self._container.mux(self._out.encode(frame))


def joined_sound(source: AudioSource) -> tuple[int, int]:
    """Numbers of the files joined to one in which there is sound, and in which it can be read.

    A player reads all of it by the decoder of the first; sound of another kind is silent to it.
    """
    tried: Counter[int] = Counter()
    heard: set[int] = set()
    with av_errors(source.path, "breaks off while its sound is read", DAMAGED):
        file = open_input(source.path)
    with file, suppress(av.error.FFmpegError):
        stream = _audio_stream(file, source)
        splices = splicer(file, stream.time_base, source.joints)
        for packet in file.demux(stream):
            if packet.size == 0 or packet.dts is None:
                continue
            if splices is not None:
                splices.move(packet)
            part = 0 if splices is None else len(splices.offsets)
            if part in heard or tried[part] >= _TRIED_PACKETS:
                continue
            tried[part] += 1
            with suppress(av.error.FFmpegError):
                if packet.decode():
                    heard.add(part)
    return len(tried), len(heard)


def _planar(frame: av.AudioFrame, channels: int) -> np.ndarray:
    array = frame.to_ndarray()
    return array if frame.format.is_planar else array.reshape(-1, channels).T


def _usual_rate(rate: int) -> int:
    return rate if rate in (16_000, 22_050, 24_000, 32_000, 44_100, 48_000) else 48_000
