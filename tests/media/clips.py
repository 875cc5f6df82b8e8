"""Make small videos and hear them again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 44100


def number_picture(number: int, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """A picture that tells its number even after lossy compression: 8 grey bars, one a bit.

    The upper left quarter is red, so that turning it shows.
    """
    width, height = size
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2, 0] = 220
    for bit in range(8):
        left, right = bit * width // 8, (bit + 1) * width // 8
        picture[height * 3 // 4 :, left:right] = 230 if number >> bit & 1 else 25
    return picture


def read_number(picture: np.ndarray) -> int:
    """The number in an upright `number_picture`."""
    height, width = picture.shape[:2]
    row = picture[height * 7 // 8].mean(axis=-1)
    return sum(int(row[(2 * bit + 1) * width // 16] > 128) << bit for bit in range(8))


def click_sound(seconds: float, clicks: Iterable[float], rate: int = RATE) -> np.ndarray:
    """(2, n) int16: silence with a short loud click at each of `clicks` seconds."""
    sound = np.zeros((2, round(seconds * rate)), np.int16)
    for click in clicks:
        sound[:, round(click * rate) : round(click * rate) + 50] = 30000
    return sound


def make_video(
    path: Path,
    frames: int = 30,
    *,
    rate: Fraction | int = 25,
    size: tuple[int, int] = (96, 64),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times: list[int] | None = None,
    time_base: Fraction | None = None,
    rotate: tuple[float, bool] | None = None,
    aspect: Fraction | None = None,
    sound: np.ndarray | None = None,
    sound_codec: str = "aac",
    options: dict[str, str] | None = None,
    picture: Callable[[int, tuple[int, int]], np.ndarray] = number_picture,
    container_options: dict[str, str] | None = None,
    prepare: Callable[[av.video.stream.VideoStream], None] | None = None,
) -> Path:
    """A video of numbered pictures; `times` are its stamps in units of `time_base`."""
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options={"g": "10", **(options or {})})
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        base = time_base or 1 / Fraction(rate)
        stream.codec_context.time_base = base
        if rotate is not None:
            stream.set_display_rotation(rotate[0], hflip=rotate[1])
        if aspect is not None:
            stream.sample_aspect_ratio = aspect
            stream.codec_context.sample_aspect_ratio = aspect
        if prepare is not None:
            prepare(stream)
        track = None
        if sound is not None:
            track = container.add_stream(sound_codec, rate=RATE, layout="stereo")
            if sound_codec == "libopus":
                track.codec_context.sample_rate = 48000
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, size), format="rgb24")
            frame.pts, frame.time_base = (times[number] if times else number), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if track is not None and sound is not None:
            container.mux(track.encode(sound_frame(sound)))
            container.mux(track.encode(None))
    return path


def sound_frame(sound: np.ndarray) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(sound.T.reshape(1, -1)), format="s16", layout="stereo"
    )
    frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
    return frame


def cut_file(path: Path, to: Path, share: float) -> Path:
    """The first `share` of the bytes of `path`, at `to`."""
    data = path.read_bytes()
    to.write_bytes(data[: int(len(data) * share)])
    return to


def heard_clicks(path: Path) -> tuple[list[float], float]:
    """Seconds at which clicks begin in the sound of `path`, and where the sound ends."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        clicks: list[float] = []
        end = 0.0
        for frame in container.decode(stream):
            array = frame.to_ndarray().astype(np.float64)
            array = array if frame.format.is_planar else array.reshape(-1, 2).T
            loud = np.abs(array[0]) / (32768 if frame.format.name.startswith("s16") else 1) > 0.35
            for sample in np.flatnonzero(loud):
                when = frame.time + sample / frame.sample_rate
                if not clicks or when - clicks[-1] > 0.05:
                    clicks.append(when)
            end = frame.time + frame.samples / frame.sample_rate
        if stream.duration is not None and stream.time_base:
            end = float(stream.duration * stream.time_base)
        return clicks, end
