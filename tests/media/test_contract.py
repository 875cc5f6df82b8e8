"""The contract of every source of frames: both readers of videos, and numbered images."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from animate.errors import MediaError, RequestError
from animate.media import FrameSelection, FrameSource, open_video, write_png
from tests.media.clips import make_video, number_picture, read_number

SOURCES = [
    "pyav",
    pytest.param(
        "decord",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("decord") is None, reason="decord is not installed"
        ),
    ),
    "images",
]
pytestmark = pytest.mark.parametrize("backend", SOURCES)


def opened(path: Path, backend: str) -> FrameSource:
    """The video at `path`, or its frames as a folder of the same name with numbered images."""
    if backend != "images":
        return open_video(path, backend)
    video, folder = open_video(path), path.with_suffix("")
    if not folder.exists():
        folder.mkdir()
        for frame in video.read():
            write_png(folder / f"{frame.index + 8}.png", frame.image)  # 9 comes before 10
    return open_video(folder, stated_fps=video.info.fps)


def numbers(source: FrameSource, **selection: object) -> list[int]:
    return [read_number(frame.image) for frame in source.read(FrameSelection(**selection))]  # type: ignore[arg-type]


def test_every_frame_once_in_order(plain: Path, backend: str) -> None:
    source = opened(plain, backend)
    frames = list(source.read())
    assert [frame.index for frame in frames] == list(range(30))
    assert [frame.time for frame in frames] == [Fraction(number, 25) for number in range(30)]
    assert [read_number(frame.image) for frame in frames] == list(range(30))
    assert source.info.fps == 25
    assert source.info.frames == 30
    assert source.info.duration == Fraction(30, 25)
    assert source.info.size == (96, 64)
    assert not source.info.has_audio
    assert source.warnings == ()


def test_pictures_are_rgb_arrays_close_to_the_originals(plain: Path, backend: str) -> None:
    frames = list(opened(plain, backend).read(FrameSelection(stride=7)))
    assert len(frames) == 5
    for frame in frames:
        assert frame.image.shape == (64, 96, 3)
        assert frame.image.dtype == np.uint8
        assert frame.image.flags.c_contiguous
        assert np.abs(frame.image.astype(int) - number_picture(frame.index)).mean() < 6


def test_reading_twice_gives_the_same(plain: Path, backend: str) -> None:
    source = opened(plain, backend)
    first = [frame.image for frame in source.read()]
    for image, frame in zip(first, source.read(), strict=True):
        assert np.array_equal(image, frame.image)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({"stride": 3}, range(0, 30, 3)),
        ({"start": 17}, range(17, 30)),
        ({"end": 4}, range(4)),
        ({"start": 5, "end": 25, "stride": 4, "max_frames": 3}, (5, 9, 13)),
        ({"start": Fraction(1, 2), "end": 1.0}, range(13, 25)),
        ({"start": 0.4, "max_frames": 2}, (10, 11)),
        ({"end": Fraction(41, 1000)}, (0, 1)),
        ({"max_frames": 1}, (0,)),
        ({"start": 29}, (29,)),
        ({"end": 1000}, range(30)),
        ({"fps": Fraction(25, 2)}, range(0, 30, 2)),
        ({"fps": 50, "max_frames": 6}, (0, 0, 1, 1, 2, 2)),
        ({"fps": 10}, (0, 3, 5, 8, 10, 13, 15, 18, 20, 23, 25, 28)),
        ({"fps": 50, "stride": 2, "end": 3}, (0, 1, 2)),
    ],
)
def test_selections(
    plain: Path, backend: str, selection: dict[str, object], expected: range
) -> None:
    source = opened(plain, backend)
    assert numbers(source, **selection) == list(expected)
    sampling = source.sampling(FrameSelection(**selection))  # type: ignore[arg-type]
    assert list(sampling.frames) == list(expected)
    assert sampling.fps == FrameSelection(**selection).output_fps(source.info)  # type: ignore[arg-type]


def test_only_the_selection_is_decoded(media: Path, backend: str) -> None:
    path = make_video(media / f"long-{backend}.mp4", 250)
    source = opened(path, backend)
    before = source.decoded
    assert numbers(source, start=203, max_frames=4) == [203, 204, 205, 206]
    assert source.decoded - before <= 10 + 4  # from the key frame before (every 10) to the last


def test_29_frames_a_second_halved_stay_exact(media: Path, backend: str) -> None:
    source = opened(make_video(media / f"29-{backend}.mp4", 133, rate=29), backend)
    selection = FrameSelection(stride=2)
    assert selection.output_fps(source.info) == Fraction(29, 2)
    assert len(source.sampling(selection).frames) == 67
    assert source.sampling(selection).duration == Fraction(134, 29)


def test_a_single_frame(media: Path, backend: str) -> None:
    source = opened(make_video(media / f"one-{backend}.mp4", 1), backend)
    assert (source.info.frames, source.info.fps) == (1, 25)
    assert numbers(source) == [0]
    assert numbers(source, stride=5) == [0]


def test_what_selects_nothing_says_so(plain: Path, backend: str) -> None:
    source = opened(plain, backend)
    for selection in (FrameSelection(start=30), FrameSelection(start=1.2)):
        with pytest.raises(MediaError, match=r"plain.*behind its end.*30 frames, 1\.200 s"):
            source.read(selection)


def test_stopping_early_leaves_nothing_open(plain: Path, backend: str) -> None:
    import os

    source = opened(plain, backend)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        frames = iter(source.read())
        next(frames)
        del frames
    assert len(os.listdir("/proc/self/fd")) <= before + 1


@pytest.mark.parametrize("stride", [10**6, 2**64])
def test_a_rate_of_hours_a_frame_is_refused_before_any_work(
    plain: Path, backend: str, stride: int
) -> None:
    with pytest.raises(RequestError, match=rf"stride of {stride} at .* choose a smaller stride"):
        opened(plain, backend).sampling(FrameSelection(stride=stride))
