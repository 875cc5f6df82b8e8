"""Frames for scrubbing, photos, and files that are kept."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from animate.media import open_video
from animate.studio import pictures
from animate.studio.pictures import BLOCK, FrameStore
from tests.scene import write_video
from tests.studio.asking import ask


def decoded(block: bytes) -> list[np.ndarray]:
    frames, at = [], 0
    while at < len(block):
        (length,) = struct.unpack_from("<I", block, at)
        image = PIL.Image.open(io.BytesIO(block[at + 4 : at + 4 + length]))
        frames.append(np.asarray(image).astype(int))
        at += 4 + length
    return frames


def test_blocks_in_any_order_hold_the_videos_own_frames(tmp_path: Path) -> None:
    clip = tmp_path / "long.mp4"
    write_video(clip, 2 * BLOCK + 5)
    truth = [frame.image.astype(int) for frame in open_video(clip).read()]
    store = FrameStore()
    assert store.facts(clip).frames == len(truth)
    for number in (2, 0, 1, 1):
        frames = decoded(store.block(clip, number, 540))
        expected = truth[number * BLOCK : (number + 1) * BLOCK]
        assert len(frames) == len(expected)
        for frame, picture in zip(frames, expected, strict=True):
            assert np.abs(frame - picture).mean() < 4


def test_blocks_that_follow_each_other_are_decoded_once(tmp_path: Path) -> None:
    clip = tmp_path / "long.mp4"
    write_video(clip, 3 * BLOCK)
    store = FrameStore()
    for number in (0, 1, 2, 0, 1, 2):
        store.block(clip, number, 120)
    [source] = store._sources.values()
    assert source.decoded == 3 * BLOCK


def test_kept_blocks_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tmp_path / "long.mp4"
    write_video(clip, 3 * BLOCK)
    store = FrameStore()
    size = len(store.block(clip, 0, 120))
    monkeypatch.setattr(pictures, "_MOST_BYTES", int(2.5 * size))
    for number in (1, 2, 0, 1):
        store.block(clip, number, 120)
        assert store._bytes <= 2.5 * size


def test_a_file_that_is_replaced_is_another_one(folder: Path) -> None:
    store = FrameStore()
    before = store.block(folder / "dance.mp4", 0, 120)
    write_video(folder / "dance.mp4", 7)
    assert len(decoded(store.block(folder / "dance.mp4", 0, 120))) == 7
    assert store.block(folder / "dance.mp4", 0, 120) != before


def test_answers(app: Any, folder: Path) -> None:
    facts = ask(app, "/api/video", file="dance.mp4").values
    assert facts["frames"] == 20
    assert ask(app, "/api/video", file="me.png").status == 422
    assert ask(app, "/api/frames", file="dance.mp4", block=9, size=120).status == 422
    assert ask(app, "/api/frames", file="dance.mp4", block=0, size=121).status == 422
    assert ask(app, "/api/frames", file="dance.mp4", block="x", size=120).status == 422
    assert ask(app, "/api/photo", file="me.png", size=32).body[:2] == b"\xff\xd8"
    clip = ask(app, "/api/file", file="dance.mp4")
    assert clip.headers["content-type"] == "video/mp4"
    assert clip.body == (folder / "dance.mp4").read_bytes()
    kept = ask(app, "/api/file", file="me.png")
    assert kept.headers["content-type"] == "application/octet-stream"
    assert kept.headers["content-disposition"].startswith("attachment")


def test_any_end_of_a_video_of_forty_minutes_is_shown(tmp_path: Path) -> None:
    clip = tmp_path / "long.mp4"
    write_video(clip, 2400, fps=Fraction(1))
    store = FrameStore()
    facts = store.facts(clip)
    assert (facts.frames, facts.seconds) == (2400, 2400.0)
    for number in (2399 // BLOCK, 0, 1200 // BLOCK):
        assert len(decoded(store.block(clip, number, 120))) == BLOCK
    assert len(store._streams) <= 3


@pytest.mark.slow
def test_a_photo_of_a_hundred_megapixels_is_shown_small(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.full((10_000, 10_000), 200, np.uint8)).save(tmp_path / "large.png")
    picture = PIL.Image.open(io.BytesIO(pictures.photo(tmp_path / "large.png", 540)))
    assert picture.size == (540, 540)
