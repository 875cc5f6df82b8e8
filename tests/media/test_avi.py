"""AVI has no time stamps: a chunk's number is its time, and pictures come later than they go in."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest

from animate.media import open_video, open_writer
from tests.media.clips import click_sound, heard_clicks, make_video, read_number


def with_empty_chunks(given: Path, path: Path, empty: set[int]) -> Path:
    """The AVI `given` without an index, whose picture chunks of these numbers are empty."""
    data = given.read_bytes()
    lists = data.index(b"movi") - 8
    position, pictures, chunks = lists + 12, 0, []
    while (kind := data[position : position + 4]) not in (b"idx1", b"JUNK", b""):
        (length,) = struct.unpack_from("<I", data, position + 4)
        body = data[position + 8 : position + 8 + length]
        if kind[2:] == b"dc":
            body = b"" if pictures in empty else body
            pictures += 1
        chunks.append(kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2))
        position += 8 + length + length % 2
    movi = b"movi" + b"".join(chunks)
    whole = bytearray(data[:lists] + b"LIST" + struct.pack("<I", len(movi)) + movi)
    struct.pack_into("<I", whole, 4, len(whole) - 8)
    path.write_bytes(whole)
    return path


def clicks_of(path: Path, out: Path) -> list[float]:
    source = open_video(path)
    audio = source.audio()
    with open_writer(out, size=(96, 64), fps=source.info.fps, audio=audio) as writer:
        for frame in source.read():
            writer.write(frame.image)
    return heard_clicks(out)[0]


@pytest.mark.parametrize(
    ("empty", "numbers", "click"),
    [
        ({0, 1}, [*range(2, 50)], 0.92),
        ({47, 48, 49}, [*range(47), 46, 46, 46], 1.0),
        ({20, 21, 49}, [*range(20), 19, 19, *range(22, 49), 48], 1.0),
    ],
)
def test_empty_chunks_at_the_edges_keep_the_sound_in_step(
    tmp_path: Path, empty: set[int], numbers: list[int], click: float
) -> None:
    given = make_video(
        tmp_path / "given.avi",
        50,
        codec="mjpeg",
        pixels="yuvj420p",
        sound=click_sound(2.0, (1.0,)),
        sound_codec="pcm_s16le",
    )
    path = with_empty_chunks(given, tmp_path / "empty.avi", empty)
    assert [read_number(frame.image) for frame in open_video(path).read()] == numbers
    assert clicks_of(path, tmp_path / "out.mp4") == pytest.approx([click], abs=0.004)


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("mpeg4", {"bf": "2"}),
        ("libx264", {"x264-params": "bframes=3"}),
        ("libx264", {"x264-params": "bframes=0"}),
        ("mpeg2video", {"bf": "2"}),
    ],
)
def test_frames_that_a_decoder_holds_back_are_shown_as_late_as_by_ffmpeg(
    tmp_path: Path, codec: str, options: dict[str, str]
) -> None:
    path = make_video(
        tmp_path / "given.avi",
        50,
        codec=codec,
        options=options,
        sound=click_sound(2.0, (1.0,)),
        sound_codec="pcm_s16le",
    )
    source = open_video(path)
    assert [read_number(frame.image) for frame in source.read()] == list(range(50))
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-map", "0:v"]
    command += ["-fps_mode", "passthrough", "-enc_time_base", "demux", "-f", "framecrc", "-"]
    lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    first = next(int(line.split(",")[2]) for line in lines if not line.startswith("#"))
    assert source.info.start == first / source.info.fps
    heard = clicks_of(path, tmp_path / "out.mp4")
    assert heard == pytest.approx([1.0 - first / 25], abs=0.004)
