"""Decoding and encoding of video files, against the plain PyAV loop with the same settings."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

from animate.media import open_video, open_writer
from animate.media.codecs import CODECS
from scripts.benchmarks.rows import Row, both_clocks

_SIZE = (576, 1024)
_FRAMES = 96
_FPS = Fraction(29)


def run() -> list[Row]:
    """Frames per second at 576x1024: ours, with the plain loop of the same run as baseline.

    By the clock, and by the processor time of all threads: beside other work only that is fair.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "given.mp4", Path(folder) / "out.mp4"
        pictures = _pictures()
        _write(source, pictures)
        seconds = both_clocks(
            {
                "decode": lambda: _read(source),
                "plain decode": lambda: _plain_read(source),
                "encode": lambda: _write(out, pictures),
                "plain encode": lambda: _plain_write(out, pictures),
                "decode + encode": lambda: _transcode(source, out),
                "plain decode + encode": lambda: _plain_transcode(source, out),
            },
            repeats=7,
        )
    return [
        Row(
            name=f"{name}, by {how}",
            value=_FRAMES / getattr(seconds[name], clock),
            unit="frames/s",
            baseline=_FRAMES / getattr(seconds[f"plain {name}"], clock),
            note="H.264, baseline: a loop of library calls; above 0.9 is within 10 %",
        )
        for name in ("decode", "encode", "decode + encode")
        for how, clock in (("the clock", "wall"), ("processor time", "cpu"))
    ]


def _pictures() -> list[np.ndarray]:
    """A soft pattern with some grain that drifts, so that motion search has work to do."""
    width, height = _SIZE
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(0, 9, width), np.linspace(0, 16, height))
    base = np.stack([np.sin(x + y), np.cos(x * 2), np.sin(y * 2)], -1) * 90 + 128
    base = (base + rng.normal(0, 4, base.shape)).clip(0, 255).astype(np.uint8)
    return [np.roll(base, (3 * number, 2 * number), (0, 1)) for number in range(_FRAMES)]


def _read(path: Path) -> int:
    return sum(frame.image.shape[0] > 0 for frame in open_video(path).read())


def _plain_read(path: Path) -> int:
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        return sum(
            frame.to_ndarray(format="rgb24").shape[0] > 0 for frame in container.decode(video=0)
        )


def _write(path: Path, pictures: list[np.ndarray]) -> None:
    with open_writer(path, size=_SIZE, fps=_FPS, overwrite=True) as writer:
        for picture in pictures:
            writer.write(picture)


def _plain_writer(container: av.container.OutputContainer) -> VideoStream:
    codec = CODECS["h264"]
    stream = container.add_stream(
        codec.encoder, rate=_FPS, options=codec.encoder_options(None, _SIZE)
    )
    assert isinstance(stream, VideoStream)
    stream.width, stream.height, stream.pix_fmt = *_SIZE, "yuv420p"
    return stream


def _plain_write(path: Path, pictures: list[np.ndarray]) -> None:
    with av.open(str(path), "w") as container:
        stream = _plain_writer(container)
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def _transcode(source: Path, out: Path) -> None:
    with open_writer(out, size=_SIZE, fps=_FPS, overwrite=True) as writer:
        for frame in open_video(source).read():
            writer.write(frame.image)


def _plain_transcode(source: Path, out: Path) -> None:
    with av.open(str(source)) as opened, av.open(str(out), "w") as container:
        opened.streams.video[0].thread_type = "AUTO"
        stream = _plain_writer(container)
        for frame in opened.decode(video=0):
            picture = frame.to_ndarray(format="rgb24")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
