"""Damaged videos: one clear message or frames, never another error and nothing left behind."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from animate.errors import MediaError
from animate.media import FrameSelection, open_video, open_writer
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
