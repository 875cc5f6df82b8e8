"""Damaged videos: one clear message or frames, never another error and nothing left behind."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from animate.errors import MediaError
from animate.media import FrameSelection, open_video, open_writer
from animate.media.decoding import StreamDecoder
from tests.media.clips import click_sound, make_video, number_picture


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("wholes")
    sound = click_sound(0.5, (0.2,))
    faststart = {"movflags": "+faststart"}
    made = [
        make_video(folder / "a.mp4", 12, sound=sound, container_options=faststart),
        make_video(folder / "a.mov", 12, sound=sound),
        make_video(folder / "a.mkv", 12, sound=sound),
        make_video(folder / "a.avi", 12),
        make_video(folder / "a.ts", 12, sound=sound),
    ]
    for suffix in ("webm", "gif"):
        made.append(folder / f"a.{suffix}")
        with open_writer(made[-1], size=(96, 64), fps=Fraction(25)) as writer:
            for number in range(12):
                writer.write(number_picture(number))
    return made


def damaged(data: bytes, kind: str, rng: np.random.Generator) -> bytes:
    if kind == "cut":
        return data[: int(rng.integers(1, len(data)))]
    hurt = bytearray(data)
    reach = len(hurt) if kind == "flip" else min(len(hurt), 2000)
    for place in rng.integers(0, reach, rng.integers(1, 12)):
        hurt[place] ^= 1 << int(rng.integers(0, 8))
    return bytes(hurt)


@pytest.mark.parametrize("kind", ["cut", "flip", "head"])
def test_damaged_videos(tmp_path: Path, wholes: list[Path], kind: str) -> None:
    rng = np.random.default_rng(["cut", "flip", "head"].index(kind))
    read, messages = 0, []
    for whole in wholes:
        path = tmp_path / whole.name
        for _ in range(8):
            path.write_bytes(damaged(whole.read_bytes(), kind, rng))
            try:
                source = open_video(path)
                selection = FrameSelection(stride=4, max_frames=4)
                shapes = {frame.image.shape for frame in source.read(selection)}
                assert shapes == {(*source.info.size[::-1], 3)}
                source.audio(selection)
                read += 1
            except MediaError as error:
                messages.append(str(error))
    assert read
    assert messages
    assert all(str(tmp_path) in message and "\n" not in message for message in messages)
    assert sorted(os.listdir(tmp_path)) == sorted(whole.name for whole in wholes)


def test_damaged_sound_still_gives_a_clip(tmp_path: Path, wholes: list[Path]) -> None:
    rng = np.random.default_rng(5)
    path, out = tmp_path / "a.ts", tmp_path / "out.mp4"
    for _ in range(6):
        path.write_bytes(damaged(wholes[4].read_bytes(), "flip", rng))
        source = open_video(path)
        with open_writer(
            out, size=(96, 64), fps=Fraction(25), audio=source.audio(), overwrite=True
        ) as writer:
            for number in range(5):
                writer.write(number_picture(number))
        assert open_video(out).info.frames == 5


@pytest.mark.parametrize(
    ("codec", "suffix", "options"),
    [
        ("libx264", "mp4", {}),
        ("libx264", "mkv", {"x264-params": "interlaced=1"}),
        ("libx265", "mkv", {"x265-params": "log-level=none"}),
        ("libvpx-vp9", "webm", {"deadline": "realtime"}),
        ("libvpx", "webm", {"deadline": "realtime"}),
        ("mpeg4", "avi", {}),
    ],
)
def test_a_damaged_video_gives_the_frames_of_one_thread(
    tmp_path: Path, codec: str, suffix: str, options: dict[str, str]
) -> None:
    """Several threads would conceal damage with whatever the others have decoded by then."""
    whole = make_video(
        tmp_path / f"whole.{suffix}",
        24,
        codec=codec,
        options=options,
        picture=drifting,
        size=(240, 144),
    )
    rng, hurt = np.random.default_rng(2), tmp_path / f"hurt.{suffix}"
    for _ in range(6):
        hurt.write_bytes(damaged_inside(whole.read_bytes(), rng))
        frames = by_decoder(hurt)
        assert frames == by_decoder(hurt)
        # What HEVC's leaves undecoded shows the picture whose memory was given back last.
        assert frames == by_one_thread(hurt) or codec == "libx265"


def test_a_damaged_video_is_told_once_and_read_alike(tmp_path: Path) -> None:
    whole, hurt = make_video(tmp_path / "whole.mp4", 24, picture=drifting), tmp_path / "hurt.mp4"
    hurt.write_bytes(damaged_inside(whole.read_bytes(), np.random.default_rng(0)))
    source = open_video(hurt)
    first, second = ([digest(frame.image) for frame in source.read()] for _ in range(2))
    assert first == second
    (warning,) = source.warnings
    assert warning.startswith(f"{hurt}: ")
    assert "damaged frame" in warning
    assert "export or copy it again" in warning


def damaged_inside(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip bits behind the beginning and before the end, where the frames are."""
    hurt = bytearray(data)
    for byte in rng.integers(len(data) // 4, len(data) * 3 // 4, 6):
        hurt[byte] ^= 1 << int(rng.integers(0, 8))
    return bytes(hurt)


def drifting(number: int, size: tuple[int, int]) -> np.ndarray:
    """A picture whose whole pattern moves, so that every frame is predicted from others."""
    width, height = size
    grain = np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)
    return np.roll(cv2.GaussianBlur(grain, (9, 9), 2), (3 * number, 2 * number), (0, 1))


def by_decoder(path: Path) -> list[str]:
    frames = StreamDecoder(path=path, stream=0).frames()
    return [digest(frame.to_ndarray(format="rgb24")) for frame in frames]


def by_one_thread(path: Path) -> list[str]:
    """Digests of the frames that one thread decodes."""
    digests = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for packet in container.demux(stream):
            with suppress(av.error.FFmpegError):
                digests += [digest(frame.to_ndarray(format="rgb24")) for frame in packet.decode()]
    return digests


def digest(picture: np.ndarray) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()
