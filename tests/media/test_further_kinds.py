"""Further kinds of files: raw streams, stamps that jitter or repeat, no index to seek by."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import PIL.Image
import pytest

from animate.errors import MediaError
from animate.media import FrameSelection, open_video, open_writer
from animate.media.selection import sample
from animate.media.timeline import make_timeline
from tests.media.clips import (
    click_sound,
    heard_clicks,
    make_video,
    number_picture,
    read_number,
    sound_frame,
)

SIZE = (96, 64)


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "assumed"),
    [
        ("a.mjpeg", "mjpeg", "yuvj420p", Fraction(25)),
        ("a.hevc", "libx265", "yuv420p", Fraction(30)),
        ("a.h264", "libx264", "yuv420p", Fraction(30)),
        ("a.h261", "h261", "yuv420p", Fraction(30000, 1001)),
    ],
)
def test_a_stream_without_a_container_has_the_rate_that_is_stated(
    tmp_path: Path, name: str, codec: str, pixels: str, assumed: Fraction
) -> None:
    size = (176, 144) if codec == "h261" else SIZE
    path = make_video(tmp_path / name, 24, rate=30, codec=codec, pixels=pixels, size=size)
    source = open_video(path)
    assert source.info.fps == assumed
    assert "has no time stamps" in source.warnings[0]
    stated = open_video(path, stated_fps=Fraction(50))
    assert stated.info.fps == 50
    assert not stated.warnings
    part = stated.read(FrameSelection(fps=Fraction(50), start=9))
    assert [read_number(frame.image) for frame in part] == list(range(9, 24))


def test_a_rounded_rate_stands_for_the_usual_one() -> None:
    times = np.delete(np.round(np.arange(60) * 1001 / 60).astype(np.int64), slice(20, 28))
    timeline = make_timeline(times, Fraction(1, 1000), (Fraction(19001, 317),))
    assert timeline.fps == Fraction(60000, 1001)


def test_frames_that_damaged_stamps_stretch_are_no_motion() -> None:
    ticks = np.array([0, 1, 2, 3, 10**8])
    timeline = make_timeline(ticks, Fraction(1, 25), (Fraction(25),))
    with pytest.raises(MediaError, match=r"5 frames are shown for 4000000 s.*--end"):
        sample(FrameSelection(), timeline, "a.mkv")
    assert sample(FrameSelection(end=3), timeline, "a.mkv").frames == (0, 1, 2)
    assert len(sample(FrameSelection(max_frames=9), timeline, "a.mkv").frames) == 9
    held = make_timeline(np.array([0, 1, 2, 90_000]), Fraction(1, 25), (Fraction(25),))
    assert len(sample(FrameSelection(), held, "a.mkv").frames) == 90_001


def test_the_rate_of_a_camera_that_jitters_is_that_of_most_of_its_frames() -> None:
    gaps = 3000 + np.random.default_rng(1).integers(-90, 91, 60)
    dark = 6000 + np.random.default_rng(2).integers(-90, 91, 59)
    ticks = np.cumsum(np.concatenate([[0], gaps, dark]))
    timeline = make_timeline(ticks, Fraction(1, 90000), ())
    assert not timeline.regular
    assert abs(timeline.fps - 30) < Fraction(1, 10)


def test_a_file_that_cannot_be_sought_in_is_read_from_its_beginning(tmp_path: Path) -> None:
    plain, path = make_video(tmp_path / "plain.mp4", 12), tmp_path / "dirac.mkv"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(plain)]
    command += ["-c:v", "vc2", "-pix_fmt", "yuv422p", str(path)]
    subprocess.run(command, check=True)
    part = open_video(path).read(FrameSelection(start=7, max_frames=3))
    assert [read_number(frame.image) for frame in part] == [7, 8, 9]


def test_a_raw_dirac_stream_ends_with_its_last_picture(tmp_path: Path) -> None:
    """An end of sequence follows it, as a packet without a picture."""
    plain, path = make_video(tmp_path / "plain.mp4", 12), tmp_path / "raw.drc"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(plain)]
    command += ["-c:v", "vc2", "-pix_fmt", "yuv422p", "-f", "dirac", str(path)]
    subprocess.run(command, check=True)
    source = open_video(path)
    assert source.info.frames == 12
    assert [read_number(frame.image) for frame in source.read()] == list(range(12))


def test_a_part_of_woven_fields_has_the_same_pictures(tmp_path: Path) -> None:
    def woven(number: int, size: tuple[int, int]) -> np.ndarray:
        picture = number_picture(number, size)
        picture[8:30:2, 50:90] = 250 * (number % 2)
        return picture

    fields = {"crf": "5", "g": "1", "flags": "+ildct+ilme"}
    path = make_video(tmp_path / "woven.mp4", 8, picture=woven, options=fields)
    source = open_video(path)
    assert source.info.interlaced
    whole = [frame.image for frame in source.read()]
    for start in range(1, 8):
        (frame,) = source.read(FrameSelection(start=start, max_frames=1))
        assert np.array_equal(frame.image, whole[start])


def with_repeated_stamps(path: Path) -> Path:
    """A video whose packets of sound come in pairs of one time stamp."""
    source = make_video(
        path.with_name("plain.mkv"), 50, sound=click_sound(2.0, (0.5, 1.5)), sound_codec="aac"
    )
    with av.open(str(source)) as given, av.open(str(path), "w") as out:
        streams = {s.index: out.add_stream_from_template(s) for s in given.streams}
        stamp, count = 0, 0
        for packet in given.demux():
            if packet.size == 0:
                continue
            if packet.stream.type == "audio":
                stamp, count = (packet.pts or 0) if count % 2 == 0 else stamp, count + 1
                packet.pts = packet.dts = stamp
            packet.stream = streams[packet.stream_index]
            out.mux(packet)
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_sound_whose_stamps_do_not_rise_is_encoded_again(tmp_path: Path, suffix: str) -> None:
    source = open_video(with_repeated_stamps(tmp_path / "pairs.mkv"))
    out = tmp_path / f"out.{suffix}"
    with open_writer(out, size=SIZE, fps=source.info.fps, audio=source.audio()) as writer:
        for frame in source.read():
            writer.write(frame.image)
    assert "time stamps" in writer.sound
    clicks, _ = heard_clicks(out)
    assert clicks == pytest.approx([0.5, 1.5], abs=0.03)


def test_avi_stores_frames_in_the_order_in_which_they_are_shown(tmp_path: Path) -> None:
    """It has no stamps: players would show others late, behind their sound."""
    out = tmp_path / "out.avi"
    with open_writer(out, size=SIZE, fps=Fraction(25)) as writer:
        for number in range(30):
            writer.write(number_picture(number))
    with av.open(str(out)) as container:
        frames = list(container.decode(video=0))
    assert all(frame.pict_type != av.video.frame.PictureType.B for frame in frames)


def turned_mkv(folder: Path) -> Path:
    plain = make_video(folder / "turned.mp4", 10, rotate=(90, False))
    path = folder / "turned.mkv"
    with av.open(str(plain)) as given, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        stream.set_display_rotation(90)
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    return path


def transparent(folder: Path) -> Path:
    return make_video(folder / "clear.mkv", 10, codec="ffv1", pixels="bgra")


def fragments(folder: Path) -> Path:
    return make_video(
        folder / "parts.mp4", 10, container_options={"movflags": "dash+frag_every_frame"}
    )


@pytest.mark.skipif(importlib.util.find_spec("decord") is None, reason="decord is not installed")
@pytest.mark.parametrize(
    ("maker", "reason"),
    [
        (turned_mkv, "turned or mirrored"),
        (transparent, "transparent"),
        (fragments, "in fragments"),
    ],
)
def test_what_decord_gets_wrong_it_refuses(
    tmp_path: Path, maker: Callable[[Path], Path], reason: str
) -> None:
    path = maker(tmp_path)
    assert len(list(open_video(path).read())) == 10
    with pytest.raises(MediaError, match=reason):
        open_video(path, "decord")


def test_columns_are_cropped_on_the_left_too(tmp_path: Path) -> None:
    plain, path = make_video(tmp_path / "plain.mp4", 4), tmp_path / "cropped.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(plain), "-c", "copy"]
    command += ["-bsf:v", "h264_metadata=crop_left=10:crop_top=4", str(path)]
    subprocess.run(command, check=True)
    source = open_video(path)
    assert source.info.size == (86, 60)
    for whole, part in zip(open_video(plain).read(), source.read(), strict=True):
        assert np.abs(whole.image[4:, 10:].astype(int) - part.image).mean() < 2


def test_raw_mpeg_pictures_come_evenly(tmp_path: Path) -> None:
    """The library makes up stamps, wrong ones for the first pictures of MPEG-1."""
    path = make_video(
        tmp_path / "raw.m1v", 24, rate=30, codec="mpeg1video", options={"bf": "2", "b": "2000000"}
    )
    source = open_video(path)
    assert source.info.fps == 30
    assert not source.info.variable_rate
    assert [read_number(frame.image) for frame in source.read()] == list(range(24))


def test_of_two_paces_the_quicker_drops_no_frame() -> None:
    halves = np.cumsum([0, *[1500] * 29, *[3000] * 30])
    assert make_timeline(halves, Fraction(1, 90000), ()).fps == 60
    mostly_slow = np.cumsum([0, *[1500] * 19, *[3000] * 40])
    assert make_timeline(mostly_slow, Fraction(1, 90000), ()).fps == 30


def test_pictures_before_the_first_key_frame_are_shown_where_they_need_no_other(
    tmp_path: Path,
) -> None:
    """A film cut at a key frame; the pictures before it are stored behind it (H.265: RADL)."""
    parameters = "log-level=none:keyint=10:min-keyint=10:no-open-gop=1:radl=2:bframes=2:scenecut=0"
    whole = make_video(
        tmp_path / "whole.mkv", 30, codec="libx265", options={"x265-params": parameters}
    )
    path, keys = tmp_path / "cut.mkv", 0
    with av.open(str(whole)) as given, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            keys += packet.is_keyframe
            if packet.size and keys > 1:
                packet.stream = stream
                out.mux(packet)
    numbers = [read_number(frame.image) for frame in open_video(path).read()]
    assert numbers == list(range(8, 30))


@pytest.mark.parametrize("suffix", ["gif", "apng"])
def test_a_moving_picture_that_ends_inside_a_frame_is_cut_off(tmp_path: Path, suffix: str) -> None:
    pictures = [PIL.Image.fromarray(number_picture(number)) for number in range(20)]
    kind = {"gif": "GIF", "apng": "PNG"}[suffix]
    whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    pictures[0].save(
        whole, format=kind, save_all=True, append_images=pictures[1:], duration=40, loop=0
    )
    data = whole.read_bytes()
    assert open_video(whole).info.frames == 20
    cut.write_bytes(data + b"\0 of another program")
    assert open_video(cut).info.frames == 20
    cut.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(MediaError, match=r"is cut off: only \d+ frames"):
        open_video(cut).read()


def test_of_sounds_without_a_default_a_commentary_comes_last(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    kinds = av.stream.Disposition
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        sounds = [out.add_stream("pcm_s16le", rate=44100, layout="stereo") for _ in range(2)]
        sounds[0].disposition = kinds.comment
        sounds[1].disposition = kinds(0)
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(number_picture(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for sound, click in zip(sounds, (0.2, 0.6), strict=True):
            out.mux(sound.encode(sound_frame(click_sound(1.0, (click,)))))
            out.mux(sound.encode(None))
    source, copy = open_video(path), tmp_path / "out.mkv"
    with open_writer(copy, size=SIZE, fps=Fraction(25), audio=source.audio()) as writer:
        for frame in source.read():
            writer.write(frame.image)
    assert heard_clicks(copy)[0] == pytest.approx([0.6], abs=0.01)


def test_transparency_beside_the_pictures_is_told(tmp_path: Path) -> None:
    plain, path = make_video(tmp_path / "plain.mkv", 3), tmp_path / "clear.webm"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(plain), "-vf"]
    command += ["format=rgba,colorchannelmixer=aa=0.5", "-c:v", "libvpx-vp9", "-pix_fmt"]
    command += ["yuva420p", "-auto-alt-ref", "0", str(path)]
    subprocess.run(command, check=True)
    assert "transparent in a way that is not read" in open_video(path).warnings[0]
    assert not open_video(plain).warnings
