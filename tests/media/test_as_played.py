"""Files as people really have them: frames, times and sound as ffmpeg plays them."""

from __future__ import annotations

import importlib.util
import struct
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest

from animate.errors import MediaError
from animate.media import FrameSelection, FrameSource, open_video, open_writer
from tests.media.clips import click_sound, heard_clicks, make_video, number_picture, read_number

BACKENDS = [
    "pyav",
    pytest.param(
        "decord",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("decord") is None, reason="decord is not installed"
        ),
    ),
]
SIZE = (96, 64)


def edited(folder: Path) -> Path:
    """60 stored frames of which an edit list shows one second."""
    path = make_video(folder / "edited.mp4", 60, rate=30)
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12
    (length,) = struct.unpack_from(">I", data, at)
    struct.pack_into(">I", data, at, length // 2)
    path.write_bytes(data)
    return path


def cover_first(folder: Path) -> Path:
    """A thumbnail as the first stream, not marked as a cover."""
    path = folder / "cover.mp4"
    with av.open(str(path), "w") as out:
        streams = [out.add_stream(name, rate=30) for name in ("mjpeg", "libx264")]
        for stream, pixels in zip(streams, ("yuvj420p", "yuv420p"), strict=True):
            stream.width, stream.height, stream.pix_fmt = *SIZE, pixels
        for stream, count in zip(streams, (1, 40), strict=True):
            for number in range(count):
                frame = av.VideoFrame.from_ndarray(number_picture(number), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 30)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    return path


def joined(folder: Path) -> Path:
    """Two broadcasts joined byte by byte: the stamps start again."""
    parts = [
        make_video(
            folder / f"part{part}.ts",
            20,
            rate=30,
            picture=lambda number, size, part=part: number_picture(20 * part + number, size),
        )
        for part in range(2)
    ]
    path = folder / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def empty_chunks(folder: Path) -> Path:
    """An even grid of 60 frames, of which eight hold no picture, with sound."""
    times = [number for number in range(60) if not 20 <= number < 28]
    return make_video(
        folder / "empty.avi",
        len(times),
        rate=30,
        codec="mjpeg",
        pixels="yuvj420p",
        times=times,
        picture=lambda number, size: number_picture(times[number], size),
        sound=click_sound(2.0, (0.5, 1.5)),
        sound_codec="pcm_s16le",
    )


def gap(folder: Path, rate: int = 30) -> Path:
    """Milliseconds of an even rate, with a gap."""
    numbers = [number for number in range(2 * rate) if not rate <= number < rate + 8]
    times = [round(number * 1000 / rate) for number in numbers]
    return make_video(
        folder / f"gap{rate}.webm",
        len(times),
        rate=rate,
        codec="libvpx",
        times=times,
        time_base=Fraction(1, 1000),
        picture=lambda number, size: number_picture(numbers[number], size),
        options={"b": "2000000"},
    )


def gap_60(folder: Path) -> Path:
    return gap(folder, 60)


def long_duration(folder: Path) -> Path:
    """A header that says half a second too much."""
    path = make_video(folder / "long.mkv", 60, rate=30)
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3
    (duration,) = struct.unpack_from(">d", data, at)
    struct.pack_into(">d", data, at, duration + 500)
    path.write_bytes(data)
    return path


def turned(folder: Path) -> Path:
    """The picture turns from landscape to portrait inside."""
    parts = [
        make_video(folder / f"{name}.webm", 15, rate=30, codec="libvpx", size=size)
        for name, size in (("wide", SIZE), ("high", SIZE[::-1]))
    ]
    path = folder / "turned.webm"
    wide, high = (av.open(str(part)) for part in parts)
    with wide, high, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(wide.streams.video[0])
        for part, container in enumerate((wide, high)):
            for packet in container.demux(video=0):
                if packet.size:
                    packet.pts = packet.dts = packet.pts + 500 * part
                    packet.stream = stream
                    out.mux(packet)
    return path


def raw(folder: Path) -> Path:
    """No container, but a rate in the stream's own headers."""
    return make_video(folder / "raw.h264", 60, rate=30)


def moving_webp(folder: Path) -> Path:
    path = folder / "moving.webp"
    with open_writer(path, size=SIZE, fps=Fraction(30)) as writer:
        for number in range(15):
            writer.write(number_picture(number))
    return path


KINDS: list[tuple[Callable[[Path], Path], int, int, int, bool]] = [
    # maker, rate, frames, stream of pictures, whether decord reads it
    (edited, 30, 30, 0, False),
    (cover_first, 30, 40, 1, False),
    (joined, 30, 40, 0, False),
    (empty_chunks, 30, 60, 0, False),
    (gap, 30, 60, 0, True),
    (gap_60, 60, 120, 0, True),
    (long_duration, 30, 60, 0, True),
    (turned, 30, 30, 0, False),
    (raw, 30, 60, 0, False),
    (moving_webp, 30, 15, 0, False),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Path], Path]], Path]:
    folder = tmp_path_factory.mktemp("played")
    paths: dict[str, Path] = {}

    def make(maker: Callable[[Path], Path]) -> Path:
        name = maker.__name__
        if name not in paths:
            paths[name] = maker(folder)
        return paths[name]

    return make


def played(path: Path, rate: int, stream: int) -> np.ndarray:
    """(frames, height, width, 3): a video at an even rate, as ffmpeg plays it."""
    width, height = SIZE
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path)]
    command += ["-map", f"0:v:{stream}", "-fps_mode", "cfr", "-r", str(rate)]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)


def source_of(path: Path, backend: str, readable: bool) -> FrameSource:
    if backend == "decord" and not readable:
        with pytest.raises(MediaError, match='use the "pyav" backend'):
            list(open_video(path, backend).read())
        backend = "pyav"
    return open_video(path, backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[0].__name__)
def test_frames_come_as_ffmpeg_plays_them(
    made: Callable[[Callable[[Path], Path]], Path],
    kind: tuple[Callable[[Path], Path], int, int, int, bool],
    backend: str,
) -> None:
    maker, rate, count, stream, readable = kind
    if maker is turned:  # nothing but decoding all of it would tell decord of the change
        backend = "pyav"
    source = source_of(made(maker), backend, readable)
    assert source.info.fps == rate
    assert source.info.duration == Fraction(count, rate)
    frames = list(source.read())
    expected = played(made(maker), rate, stream)
    assert len(frames) == count
    assert len(expected) == count or maker in (gap, gap_60)
    if maker is turned:  # ffmpeg squashes the second part into the shape of the first
        frames, expected = frames[:15], expected[:15]
    numbers = [read_number(frame.image) for frame in frames]
    theirs = [read_number(image) for image in expected]
    # At an even rate ffmpeg shows the frame behind a gap a little early: one picture differs.
    gaps = 1 if maker in (gap, gap_60, empty_chunks) else 0
    assert sum(a != b for a, b in zip(numbers, theirs, strict=False)) <= gaps
    for frame, image, a, b in zip(frames, expected, numbers, theirs, strict=False):
        assert a != b or np.abs(frame.image.astype(int) - image).mean() < 4


@pytest.mark.parametrize("maker", [joined, empty_chunks])
def test_a_part_of_such_a_file_is_the_same_part(
    made: Callable[[Callable[[Path], Path]], Path], maker: Callable[[Path], Path]
) -> None:
    source = open_video(made(maker))
    numbers = [read_number(frame.image) for frame in source.read()]
    for start, length in ((0, 3), (22, 4), (24, 1), (35, 5)):
        part = source.read(FrameSelection(start=start, max_frames=length))
        assert [read_number(frame.image) for frame in part] == numbers[start : start + length]
    assert not any("damaged" in warning for warning in source.warnings)


@pytest.mark.parametrize(
    ("maker", "words"),
    [
        (edited, None),
        (cover_first, None),
        (joined, "2 files in one"),
        (empty_chunks, None),
        (long_duration, r"header says 2\.500 s, its frames end at 2\.000 s"),
        (raw, "30 frames/s are taken, --fps says another"),
        (moving_webp, None),
    ],
)
def test_what_a_person_should_know_is_said(
    made: Callable[[Callable[[Path], Path]], Path],
    maker: Callable[[Path], Path],
    words: str | None,
) -> None:
    import re

    warnings = open_video(made(maker)).warnings
    assert len(warnings) == (0 if words is None else 1)
    assert words is None or re.search(words, warnings[0])


def test_a_turned_picture_is_letterboxed_and_told(
    made: Callable[[Callable[[Path], Path]], Path],
) -> None:
    source = open_video(made(turned))
    images = [frame.image for frame in source.read()]
    assert images[20].shape == (64, 96, 3)
    assert (images[20][:, :20] < 8).all()  # a portrait of 64x96 becomes 42x64
    assert (images[20][:, 76:] < 8).all()
    assert images[20][:, 30:60].max() > 180
    assert any("letterboxed" in warning for warning in source.warnings)


def test_a_stated_rate_of_a_raw_stream_does_not_resample(
    made: Callable[[Callable[[Path], Path]], Path],
) -> None:
    source = open_video(made(raw), stated_fps=Fraction(24))
    selection = FrameSelection(fps=Fraction(24))
    assert list(source.sampling(selection).frames) == list(range(60))
    assert source.info.fps == 24
    assert not source.warnings


def test_the_default_stream_is_taken_and_among_equals_the_larger(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as out:
        streams = [out.add_stream("libx264", rate=30) for _ in range(2)]
        for stream, size in zip(streams, (SIZE, (192, 128)), strict=True):
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for stream in streams:
            for number in range(10):
                picture = number_picture(number, (stream.width, stream.height))
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 30)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    source = open_video(path)
    assert source.info.size == (192, 128)
    assert "2 streams of pictures; number 1 is taken (192x128, 10 frames)" in source.warnings[0]


@pytest.mark.parametrize("aspect", [Fraction(20), Fraction(1, 50)])
def test_impossible_pixels_are_refused(tmp_path: Path, aspect: Fraction) -> None:
    path = make_video(tmp_path / "wide.mp4", 2, aspect=aspect)
    with pytest.raises(MediaError, match=r"wide\.mp4 states pixels that are .* times as wide"):
        open_video(path)


def test_a_frame_an_hour_is_no_motion(tmp_path: Path) -> None:
    times = [number * 3_600_000 for number in range(8)]
    path = make_video(
        tmp_path / "hourly.mkv", 8, times=times, time_base=Fraction(1, 1000), codec="mpeg4"
    )
    with pytest.raises(MediaError, match="a frame every 3600 s, which is no motion"):
        open_video(path)


def test_a_live_recording_that_was_cut_off_is_noticed(tmp_path: Path) -> None:
    whole = make_video(
        tmp_path / "live.mkv", 60, rate=30, container_options={"live": "1"}, codec="mpeg4"
    )
    assert open_video(whole).info.frames == 60
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(MediaError, match="is cut off"):
        open_video(cut).read()


def with_unknown_sound(path: Path, tracks: int) -> Path:
    """A video with sound tracks, the first of a kind that nobody knows."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        sounds = [out.add_stream("aac", rate=44100, layout="stereo") for _ in range(tracks)]
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(number_picture(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        for sound in sounds:
            samples = click_sound(2.0, (1.0,))
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples.T.reshape(1, -1)), format="s16", layout="stereo"
            )
            frame.sample_rate, frame.pts, frame.time_base = 44100, 0, Fraction(1, 44100)
            out.mux(sound.encode(frame))
            out.mux(sound.encode(None))
    data = bytearray(path.read_bytes())
    at = data.index(b"mp4a", data.index(b"stsd"))
    data[at : at + 4] = b"zzzz"
    at = data.index(b"esds", at)
    data[at : at + 4] = b"free"
    path.write_bytes(data)
    return path


def test_sound_without_a_decoder_is_known_before_the_work(tmp_path: Path) -> None:
    source = open_video(with_unknown_sound(tmp_path / "mute.mp4", 1))
    assert not source.info.has_audio
    assert source.audio() is None
    assert "sound that no decoder is there for; the clip will be silent" in source.warnings[0]


def test_the_first_readable_track_is_heard(tmp_path: Path) -> None:
    source = open_video(with_unknown_sound(tmp_path / "two.mp4", 2))
    assert source.info.has_audio
    out = tmp_path / "out.mp4"
    with open_writer(out, size=SIZE, fps=source.info.fps, audio=source.audio()) as writer:
        for frame in source.read():
            writer.write(frame.image)
    clicks, _ = heard_clicks(out)
    assert clicks == pytest.approx([1.0], abs=0.03)


@pytest.mark.parametrize("start", [0, 24, 40])
@pytest.mark.parametrize(("codec", "suffix"), [("mp2", "mkv"), ("aac", "mp4")])
def test_the_sound_of_joined_files_stays_with_their_pictures(
    tmp_path: Path, start: int, codec: str, suffix: str
) -> None:
    """Each part shows its numbers and clicks in its middle."""
    for part in range(2):
        make_video(
            tmp_path / f"part{part}.ts",
            30,
            rate=30,
            picture=lambda number, size, part=part: number_picture(30 * part + number, size),
            sound=click_sound(1.0, (0.5,)),
            sound_codec=codec,
        )
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join((tmp_path / f"part{part}.ts").read_bytes() for part in range(2)))
    source = open_video(path)
    selection = FrameSelection(start=start)
    out = tmp_path / f"out.{suffix}"
    with open_writer(out, size=SIZE, fps=Fraction(30), audio=source.audio(selection)) as writer:
        for frame in source.read(selection):
            writer.write(frame.image)
    clicks, _ = heard_clicks(out)
    expected = [time for time in (0.5 - start / 30, 1.5 - start / 30) if time > 0]
    assert clicks == pytest.approx(expected, abs=0.04)
