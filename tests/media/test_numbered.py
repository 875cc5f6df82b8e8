"""Numbered images as a driving video: names, gaps, rates, and what is wrong with them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from animate.errors import MediaError
from animate.media import FrameSelection, is_numbered, open_video, open_writer, write_png
from animate.media.numbered import check_driving, source_digest
from tests.media.clips import number_picture, read_number


def series(folder: Path, numbers: range | list[int], name: str = "f_{:04d}.png") -> Path:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        write_png(folder / name.format(number), number_picture(number))
    return folder


@pytest.mark.parametrize("pattern", ["f_%04d.png", "f_####.png", ""])
def test_a_pattern_or_a_folder_names_them(tmp_path: Path, pattern: str) -> None:
    series(tmp_path / "in", range(9, 13))
    source = open_video(tmp_path / "in" / pattern, stated_fps=Fraction(24))
    assert [read_number(frame.image) for frame in source.read()] == [9, 10, 11, 12]
    assert (source.info.fps, source.info.frames) == (24, 4)
    assert source.audio() is None
    assert source.warnings == ()


def test_a_pattern_takes_its_own_series_out_of_a_full_folder(tmp_path: Path) -> None:
    series(tmp_path, range(3), "a{:d}.png")
    series(tmp_path, range(5, 9), "b{:d}.png")
    (tmp_path / "notes.txt").write_text("x")
    source = open_video(tmp_path / "b%d.png", stated_fps=Fraction(10))
    assert [read_number(frame.image) for frame in source.read(FrameSelection(stride=2))] == [5, 7]


def test_a_rate_that_nobody_states_is_told(tmp_path: Path) -> None:
    source = open_video(series(tmp_path / "in", range(2)))
    assert source.info.fps == 25
    assert "25 frames/s are assumed" in source.warnings[0]


def test_sequences_written_here_state_their_rate(tmp_path: Path) -> None:
    path = tmp_path / "shot" / "x.%04d.png"
    with open_writer(path, size=(96, 64), fps=Fraction(30000, 1001)) as writer:
        for number in range(3):
            writer.write(number_picture(number))
    source = open_video(path)
    assert source.info.fps == Fraction(30000, 1001)
    assert source.warnings == ()
    assert open_video(path, stated_fps=Fraction(8)).info.fps == 8


def test_a_nonsense_rate_in_a_file_is_not_believed(tmp_path: Path) -> None:
    write_png(tmp_path / "0.png", number_picture(0), text={"fps": "1/0"})
    assert open_video(tmp_path).info.fps == 25


def test_other_kinds_of_images(tmp_path: Path) -> None:
    for number in range(3):
        PIL.Image.fromarray(number_picture(number)).save(tmp_path / f"{number}.jpg", quality=95)
    source = open_video(tmp_path / "%d.jpg", stated_fps=Fraction(5))
    assert [read_number(frame.image) for frame in source.read()] == [0, 1, 2]


def test_missing_numbers_are_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"image 3 is followed by image 6"):
        open_video(series(tmp_path / "in", [2, 3, 6]))
    with pytest.raises(MediaError, match=r"image 3 is followed by image 6"):
        check_driving(tmp_path / "in" / "f_%04d.png")


def test_the_same_number_twice_is_named(tmp_path: Path) -> None:
    series(tmp_path, [2, 3], "{:d}.png")
    series(tmp_path, [3], "{:02d}.png")
    with pytest.raises(MediaError, match="several images of number 3"):
        open_video(tmp_path)


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    series(tmp_path, range(3), "{:d}.png")
    write_png(tmp_path / "3.png", np.zeros((10, 12, 3), np.uint8))
    with pytest.raises(MediaError, match=r"3\.png is 12x10, the first image 96x64"):
        list(open_video(tmp_path).read())


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    series(tmp_path, range(3), "{:d}.png")
    whole = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError, match=r"1\.png .*damaged"):
        list(open_video(tmp_path).read())
    (tmp_path / "2.png").write_bytes(b"")
    with pytest.raises(MediaError, match=r"driving image .*2\.png is empty"):
        check_driving(tmp_path)


def test_nothing_there_says_what_to_name(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "x_%03d.png", tmp_path / "no" / "x_%03d.png"):
        with pytest.raises(MediaError, match=r"holds no images.*frames_%04d\.png"):
            open_video(path)


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path: Path) -> None:
    write_png(tmp_path / "a%04d.png", number_picture(1))
    assert not is_numbered(tmp_path / "a%04d.png")
    assert not is_numbered(tmp_path / "clip.mp4")


def test_the_digest_knows_names_and_contents(tmp_path: Path) -> None:
    folder = series(tmp_path / "in", range(3))
    before = source_digest(folder)
    assert source_digest(folder / "f_%04d.png") == before
    (folder / "notes.txt").write_text("does not count")
    assert source_digest(folder) == before
    write_png(folder / "f_0001.png", number_picture(7))
    assert source_digest(folder) != before
