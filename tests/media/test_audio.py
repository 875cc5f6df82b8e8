"""The sound stays with the pictures: same place, same end."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from animate.errors import MediaError, RequestError
from animate.media import AudioSource, FrameSelection, open_video, open_writer
from tests.media.clips import click_sound, heard_clicks, make_video


def rewrite(source_path: Path, to: Path, selection: FrameSelection) -> tuple[str, float]:
    """Write the selection with its sound; what was done with the sound, and seconds of pictures."""
    source = open_video(source_path)
    fps = selection.output_fps(source.info)
    audio = source.audio(selection)
    assert audio is not None
    with open_writer(to, size=source.info.size, fps=fps, audio=audio) as writer:
        for frame in source.read(selection):
            writer.write(frame.image)
    return writer.sound, writer.frames / float(fps)


WHOLE = FrameSelection()
PART = FrameSelection(start=Fraction(3, 5), end=Fraction(12, 5), stride=2)


@pytest.mark.parametrize(
    ("suffix", "selection", "how", "clicks"),
    [
        ("mp4", WHOLE, "copied aac", [0.4, 1.0, 2.0]),
        ("mov", WHOLE, "copied aac", [0.4, 1.0, 2.0]),
        ("mkv", WHOLE, "copied aac", [0.4, 1.0, 2.0]),
        ("webm", WHOLE, "re-encoded aac to libopus", [0.4, 1.0, 2.0]),
        ("avi", WHOLE, "re-encoded aac to pcm", [0.4, 1.0, 2.0]),
        ("mp4", PART, "copied aac", [0.4, 1.4]),
        ("mov", PART, "copied aac", [0.4, 1.4]),
        ("mkv", PART, "re-encoded aac to aac: matroska cannot begin inside", [0.4, 1.4]),
        ("webm", PART, "re-encoded aac to libopus", [0.4, 1.4]),
        ("mp4", FrameSelection(max_frames=30), "copied aac", [0.4, 1.0]),
    ],
)
def test_clicks_keep_their_place_and_the_end_agrees(
    sounding: Path,
    tmp_path: Path,
    suffix: str,
    selection: FrameSelection,
    how: str,
    clicks: list[float],
) -> None:
    path = tmp_path / f"clip.{suffix}"
    said, seconds = rewrite(sounding, path, selection)
    assert said.startswith(how)
    heard, end = heard_clicks(path)
    assert heard == pytest.approx(clicks, abs=0.004)
    assert abs(end - seconds) <= 1 / 25
    assert float(open_video(path).info.duration or 0) == pytest.approx(seconds)


@pytest.mark.parametrize("codec", ["libopus", "libmp3lame", "flac", "ac3", "pcm_s16le"])
@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_other_codecs(tmp_path: Path, media: Path, codec: str, suffix: str) -> None:
    given = media / f"{codec}.mkv"
    if not given.exists():
        sound = click_sound(1.2, (0.5,))
        make_video(given, sound=sound, size=(64, 64), sound_codec=codec)
    said, _ = rewrite(given, tmp_path / f"clip.{suffix}", WHOLE)
    copied = (codec == "libopus") if suffix == "webm" else codec != "pcm_s16le"
    assert said.startswith("copied" if copied else "re-encoded")
    heard, end = heard_clicks(tmp_path / f"clip.{suffix}")
    assert heard == pytest.approx([0.5], abs=0.004)
    assert abs(end - 1.2) <= 0.05


@pytest.mark.parametrize("seconds", [0.7, 2.0])
def test_sound_shorter_or_longer_than_the_pictures(tmp_path: Path, seconds: float) -> None:
    sound = click_sound(seconds, (0.3,))
    given = make_video(tmp_path / "in.mp4", 30, sound=sound, size=(64, 64))
    said, _ = rewrite(given, tmp_path / "out.mp4", WHOLE)
    assert ("silence fills it" in said) == (seconds < 1.2)
    heard, end = heard_clicks(tmp_path / "out.mp4")
    assert heard == pytest.approx([0.3], abs=0.004)
    assert abs(end - 1.2) <= 1 / 25


def test_a_selection_without_any_sound_is_silent(tmp_path: Path) -> None:
    given = make_video(tmp_path / "in.mp4", 75, sound=click_sound(1.0, (0.3,)), size=(64, 64))
    rewrite(given, tmp_path / "out.mp4", FrameSelection(start=2.0))
    heard, end = heard_clicks(tmp_path / "out.mp4")
    assert heard == []
    assert abs(end - 1.0) <= 1 / 25


def test_damaged_sound_becomes_silence_not_an_error(tmp_path: Path, sounding: Path) -> None:
    given = tmp_path / "in.mkv"
    with av.open(str(sounding)) as old, av.open(str(given), "w") as new:
        out = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        rng = np.random.default_rng(0)
        for packet in old.demux():
            if not packet.size:
                continue
            kind, seconds = packet.stream.type, float(packet.pts * packet.time_base)
            stream = out[packet.stream_index]
            if kind == "audio" and 0.6 < seconds < 1.5:
                broken = av.Packet(rng.bytes(packet.size))
                broken.pts, broken.dts, broken.duration = packet.pts, packet.dts, packet.duration
                broken.time_base = packet.time_base
                packet = broken
            packet.stream = stream
            new.mux(packet)
    rewrite(given, tmp_path / "out.webm", WHOLE)
    heard, end = heard_clicks(tmp_path / "out.webm")
    assert heard[0] == pytest.approx(0.4, abs=0.004)
    assert heard[-1] == pytest.approx(2.0, abs=0.004)
    assert abs(end - 3.0) <= 1 / 25


def test_sound_of_a_file_without_any_is_an_error(tmp_path: Path, plain: Path) -> None:
    assert open_video(plain).audio() is None
    with pytest.raises(MediaError, match="no sound that can be read"):
        write_with(tmp_path / "out.mp4", AudioSource(path=plain))
    with pytest.raises(RequestError, match="gif has no sound"):
        write_with(tmp_path / "out.gif", AudioSource(path=plain))
    with pytest.raises(RequestError, match="cannot have sound"):
        write_with(tmp_path / "%04d.png", AudioSource(path=plain))
    assert os.listdir(tmp_path) == []


def write_with(path: Path, audio: AudioSource) -> None:
    with open_writer(path, size=(64, 64), fps=Fraction(25), audio=audio) as writer:
        writer.write(np.zeros((64, 64, 3), np.uint8))
