"""Files that were joined byte by byte, and files in fragments: whole, or told before any work."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path

import av
import pytest

from animate.errors import MediaError
from animate.media import FrameSelection, open_video, open_writer
from tests.media.clips import click_sound, heard_clicks, make_video, number_picture, read_number


def numbered_part(path: Path, first: int, rate: int = 25, **settings: object) -> Path:
    """A second of numbers from `first` on."""
    return make_video(
        path,
        rate,
        rate=rate,
        picture=lambda number, size: number_picture(first + number, size),
        **settings,  # type: ignore[arg-type]
    )


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize(
    ("suffix", "codec", "sound_codec"), [("mkv", "libx264", "aac"), ("webm", "libvpx", "libopus")]
)
def test_joined_matroska_files_are_put_one_behind_the_other(
    tmp_path: Path, suffix: str, codec: str, sound_codec: str
) -> None:
    """The library reads over the head of the second, whose stamps begin again."""
    parts = [
        numbered_part(
            tmp_path / f"{part}.{suffix}",
            100 * part,
            codec=codec,
            sound=click_sound(1.0, (0.5,)),
            sound_codec=sound_codec,
        )
        for part in range(2)
    ]
    source = open_video(joined(tmp_path / f"both.{suffix}", *parts))
    expected = [*range(25), *range(100, 125)]
    assert [read_number(frame.image) for frame in source.read()] == expected
    assert source.info.duration == 2
    assert "2 files in one, whose time stamps start again" in source.warnings[0]
    part = source.read(FrameSelection(start=23, max_frames=4))
    assert [read_number(frame.image) for frame in part] == [23, 24, 100, 101]
    out = tmp_path / "out.mp4"
    with open_writer(out, size=(96, 64), fps=Fraction(25), audio=source.audio()) as writer:
        for frame in source.read():
            writer.write(frame.image)
    assert heard_clicks(out)[0] == pytest.approx([0.5, 1.5], abs=0.01)


def test_frames_of_another_pace_and_order_do_not_overlap_at_the_joint(tmp_path: Path) -> None:
    """One file holds its frames back longer than the next."""
    slow = numbered_part(tmp_path / "slow.ts", 0, 25)
    quick = numbered_part(tmp_path / "quick.ts", 100, 50)
    source = open_video(joined(tmp_path / "both.ts", slow, quick))
    assert source.info.frames == 75
    assert source.info.duration == 2
    assert source.info.fps == 50
    numbers = [read_number(frame.image) for frame in source.read()]
    assert numbers == [*(number // 2 for number in range(50)), *range(100, 150)]


@pytest.mark.parametrize(
    ("first", "second"),
    [("libx264", "mpeg2video"), ("mpeg2video", "libx264"), ("libx264", "libx265")],
)
def test_pictures_of_another_kind_are_told_before_any_work(
    tmp_path: Path, first: str, second: str
) -> None:
    options = {"x265-params": "log-level=none"} if second == "libx265" else {}
    parts = [
        numbered_part(tmp_path / "first.ts", 0, codec=first),
        numbered_part(tmp_path / "second.ts", 100, codec=second, options=options),
    ]
    with pytest.raises(MediaError, match=r"2 files in one, and the .* is not that of number 2"):
        open_video(joined(tmp_path / "both.ts", *parts))


@pytest.mark.parametrize("movflags", ["", "frag_keyframe+empty_moov"])
def test_what_follows_an_mp4_is_not_read_and_told(tmp_path: Path, movflags: str) -> None:
    options = {"movflags": movflags} if movflags else {}
    parts = [
        numbered_part(tmp_path / f"{part}.mp4", 100 * part, container_options=options)
        for part in range(2)
    ]
    source = open_video(joined(tmp_path / "both.mp4", *parts))
    assert [read_number(frame.image) for frame in source.read()] == list(range(25))
    assert "2 files in one, of which the first alone is read" in source.warnings[0]


def test_a_file_that_ends_inside_the_head_of_a_fragment_is_cut_off(tmp_path: Path) -> None:
    whole = numbered_part(
        tmp_path / "whole.mp4", 0, container_options={"movflags": "frag_keyframe+empty_moov"}
    )
    assert open_video(whole).info.frames == 25
    data = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: data.rindex(b"moof") + 56])
    with pytest.raises(MediaError, match=r"is cut off: only \d+ frames"):
        open_video(cut).read()


@pytest.mark.skipif(importlib.util.find_spec("decord") is None, reason="decord is not installed")
def test_decord_does_not_choose_among_streams(tmp_path: Path) -> None:
    """It would take the larger one, whatever is the default."""
    path = tmp_path / "two.mp4"
    with av.open(str(path), "w") as out:
        streams = [out.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, size in zip(streams, ((96, 64), (192, 128)), strict=True):
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        streams[0].disposition = av.stream.Disposition.default
        for stream in streams:
            for number in range(10):
                picture = number_picture(number, (stream.width, stream.height))
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    assert open_video(path).info.size == (96, 64)
    with pytest.raises(MediaError, match="chooses among streams of pictures by itself"):
        open_video(path, "decord")


@pytest.mark.skipif(importlib.util.find_spec("decord") is None, reason="decord is not installed")
def test_decord_is_not_given_stamps_that_state_the_time_of_day(tmp_path: Path) -> None:
    times = [1_700_000_000_000 + 40 * number for number in range(10)]
    path = make_video(
        tmp_path / "day.mkv", 10, times=times, time_base=Fraction(1, 1000), codec="mpeg4"
    )
    assert [read_number(frame.image) for frame in open_video(path).read()] == list(range(10))
    with pytest.raises(MediaError, match="stamps that state the time of day"):
        open_video(path, "decord")
