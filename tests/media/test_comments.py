"""Comments of animated pictures: there, and harmless to those who play them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animate.media import open_video, open_writer
from animate.media.comments import read_comment

TEXT = '{"made_by":"cnx-animate <1>","notes":"' + "long & " * 60 + '"}'


def written(path: Path, frames: int, **metadata: str) -> Path:
    with open_writer(path, size=(32, 24), fps=Fraction(10), metadata=metadata) as writer:
        for number in range(frames):
            writer.write(np.full((24, 32, 3), 20 * number, np.uint8))
    return path


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_a_comment_comes_back_and_the_frames_with_it(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"clip{suffix}", 3, comment=TEXT)
    plain = written(tmp_path / f"plain{suffix}", 3)
    assert read_comment(path) == TEXT
    assert read_comment(plain) == ""
    frames, without = ([f.image for f in open_video(p).read()] for p in (path, plain))
    assert len(frames) == 3
    np.testing.assert_array_equal(frames, without)
    with Image.open(path) as picture:
        assert picture.n_frames == 3  # type: ignore[attr-defined]
        known = picture.info.get("comment") or picture.info.get("xmp")
    assert b"made_by" in known


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_a_single_frame_stays_readable(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"clip{suffix}", 1, comment=TEXT)
    with Image.open(path) as picture:
        assert picture.convert("RGB").size == (32, 24)
    assert read_comment(path) in (TEXT, "")


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a", b"GIF89a" + b"\xff" * 9, b"RIFF\0\0\0\0WEBPXMP "]
)
def test_a_damaged_file_has_no_comment(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert read_comment(tmp_path / "x") == ""
