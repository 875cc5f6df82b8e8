"""Lateness of a clip's sound against the driving video's, by their loudness over time."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from animate.errors import MediaError
from animate.media.containers import av_errors, open_input

_RATE = 8000
_HOP = 40
"""Samples over which loudness is taken: 5 ms."""
_SECONDS = 60
"""Sound that is compared at most."""
_REACH = 2.0
"""Offset in seconds that is looked for at most."""


def audio_offset(clip: Path, driving: Path, start: float) -> float | None:
    """Seconds by which the clip's sound comes late; None where one is silent or has none.

    `start` is the time in the driving video at which the clip begins. To within 5 ms.
    Raises MediaError for a file that cannot be read.
    """
    ours, theirs = _loudness(clip, 0.0), _loudness(driving, start)
    if ours is None or theirs is None or not ours.std() or not theirs.std():
        return None
    count = min(len(ours), len(theirs))
    ours, theirs = ours[:count] - ours[:count].mean(), theirs[:count] - theirs[:count].mean()
    length = 2 * count
    product = np.fft.rfft(ours, length) * np.conj(np.fft.rfft(theirs, length))
    likeness = np.fft.irfft(product, length)
    reach = min(count - 1, int(_REACH * _RATE / _HOP))
    lags = np.arange(-reach, reach + 1)
    return float(lags[int(np.argmax(likeness[lags]))] * _HOP / _RATE)


def _loudness(path: Path, start: float) -> NDArray[np.float64] | None:
    """Root mean square of each 5 ms, from `start` seconds after the first picture."""
    with av_errors(path, "cannot be opened for its sound", "leave the driving video out"):
        container = open_input(path)
    with container:
        if not container.streams.audio or not container.streams.video:
            return None
        video = container.streams.video[0]
        first = float((video.start_time or 0) * video.time_base) if video.time_base else 0.0
        resampler = av.AudioResampler(format="flt", layout="mono", rate=_RATE)
        samples = np.zeros(_SECONDS * _RATE, np.float32)
        end = 0
        with av_errors(path, "breaks off while its sound is read", "leave the driving video out"):
            for frame in container.decode(container.streams.audio[0]):
                pieces = resampler.resample(frame)
                positions = [_position(piece, first + start) for piece in pieces]
                ends = [_put(samples, *placed) for placed in zip(pieces, positions, strict=True)]
                end = max(end, *ends, 0)
                if max(positions, default=0) > len(samples):
                    break
        count = end // _HOP
        if count < 2:
            return None
        steps = samples[: count * _HOP].reshape(count, _HOP).astype(np.float64)
        return np.sqrt((steps**2).mean(1))


def _position(piece: AudioFrame, start: float) -> int:
    if piece.pts is None or piece.time_base is None:
        raise MediaError("the sound has no time stamps")
    return round((float(piece.pts * piece.time_base) - start) * _RATE)


def _put(samples: NDArray[np.float32], piece: AudioFrame, position: int) -> int:
    """Put a piece of sound where it belongs; returns where it ends, 0 outside."""
    values = piece.to_ndarray().reshape(-1)
    low, high = max(0, position), min(len(samples), position + len(values))
    if low >= high:
        return 0
    samples[low:high] = values[low - position : high - position]
    return high
