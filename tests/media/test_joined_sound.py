"""The sound of files that were joined byte by byte: each part's stays with its own pictures."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from animate.media import FrameSource, open_video, open_writer
from tests.media.clips import click_sound, heard_clicks, make_video, sound_frame

SIZE = (96, 64)


def part(path: Path, codec: str | None, click: float = 0.5) -> Path:
    """A second of a broadcast with one click in it, or without sound."""
    sound = None if codec is None else click_sound(1.0, (click,))
    return make_video(path, 30, rate=30, sound=sound, sound_codec=codec or "aac")


def surround(path: Path) -> Path:
    """A second of a broadcast whose sound has six channels, each with a click."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=30)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        track = out.add_stream("ac3", rate=48_000, layout="5.1")
        for number in range(30):
            picture = np.full((*SIZE[::-1], 3), 4 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        samples = np.zeros((6, 48_000), np.float32)
        samples[:, 24_000:24_500] = 0.9 * np.sin(np.arange(500) * 0.3)
        sound = av.AudioFrame.from_ndarray(samples, format="fltp", layout="5.1")
        sound.sample_rate, sound.pts, sound.time_base = 48_000, 0, Fraction(1, 48_000)
        resampler = av.AudioResampler(format="fltp", layout="5.1", rate=48_000, frame_size=1536)
        for piece in (*resampler.resample(sound), *resampler.resample(None)):
            out.mux(track.encode(piece))
        out.mux(track.encode(None))
    return path


def joined(folder: Path, *parts: Path) -> FrameSource:
    path = folder / "joined.ts"
    path.write_bytes(b"".join(file.read_bytes() for file in parts))
    return open_video(path)


def clicks(source: FrameSource, out: Path) -> list[float]:
    """Seconds of the clicks of a clip that has the source's sound."""
    with open_writer(out, size=SIZE, fps=source.info.fps, audio=source.audio()) as writer:
        for frame in source.read():
            writer.write(frame.image)
    return heard_clicks(out)[0]


@pytest.mark.parametrize(
    ("codecs", "expected"),
    [
        (("aac", "aac"), [0.5, 1.5]),
        ((None, "aac"), [1.5]),
        (("aac", None), [0.5]),
        (("aac", None, "aac"), [0.5, 2.5]),
        ((None, None, "mp2"), [2.5]),
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_sound_stays_with_its_part(
    tmp_path: Path, codecs: tuple[str | None, ...], expected: list[float], suffix: str
) -> None:
    parts = [part(tmp_path / f"{k}.ts", codec) for k, codec in enumerate(codecs)]
    source = joined(tmp_path, *parts)
    assert not any("the sound of" in warning for warning in source.warnings)
    assert clicks(source, tmp_path / f"out.{suffix}") == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(("first", "second"), [("aac", "mp2"), ("mp2", "aac"), ("aac", "ac3")])
def test_sound_of_another_kind_is_said_before_any_work_and_silent(
    tmp_path: Path, first: str, second: str
) -> None:
    parts = [part(tmp_path / f"{codec}.ts", codec) for codec in (first, second)]
    source = joined(tmp_path, *parts)
    assert any("the sound of 1 of its joined files" in warning for warning in source.warnings)
    assert clicks(source, tmp_path / "out.mp4") == pytest.approx([0.5], abs=0.05)


def test_channels_may_change_from_part_to_part(tmp_path: Path) -> None:
    stereo, six = part(tmp_path / "stereo.ts", "ac3"), surround(tmp_path / "six.ts")
    for parts in ((stereo, six), (six, stereo)):
        source = joined(tmp_path, *parts)
        assert not any("the sound of" in warning for warning in source.warnings)
        assert clicks(source, tmp_path / "out.mp4") == pytest.approx([0.5, 1.5], abs=0.05)
        (tmp_path / "out.mp4").unlink()


def test_a_rate_may_change_within(tmp_path: Path) -> None:
    """48 kHz and 44.1 kHz of one codec: the second part keeps its pitch."""
    fast = make_video(tmp_path / "a.ts", 30, rate=30)
    with av.open(str(fast), "w") as out:
        video = out.add_stream("libx264", rate=30)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        track = out.add_stream("aac", rate=48_000, layout="stereo")
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(
                np.full((*SIZE[::-1], 3), 4 * number, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = number, Fraction(1, 30)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=48_000)
        for piece in resampler.resample(sound_frame(click_sound(1.0, (0.5,)))):
            out.mux(track.encode(piece))
        out.mux(track.encode(None))
    source = joined(tmp_path, fast, part(tmp_path / "b.ts", "aac", click=0.8))
    assert clicks(source, tmp_path / "out.mp4") == pytest.approx([0.5, 1.8], abs=0.03)
