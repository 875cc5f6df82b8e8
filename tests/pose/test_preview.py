"""Preview pictures: everything that should be seen in them is there."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from pose import preview
from pose.errors import PoseError
from pose.preview import overlay, overlay_frames, sheet, strip
from pose.sequence import PoseSequence
from scripts.benchmarks._dancer import dancer

GAP = (150, 20, 40)
WHITE = (255, 255, 255)
LABEL = np.array((90, 200, 255))


def two_people() -> PoseSequence:
    """Ten frames of two people; person 1 is away in frames 3 to 5, everybody in frame 8."""
    one = dancer(10)
    scores = np.concatenate([one.scores, one.scores], axis=1)
    scores[3:6, 1] = 0
    scores[8] = 0
    points = np.concatenate([one.points, one.points + 120], axis=1)
    return replace(one, points=points, scores=scores, cuts=(7,))


def pictures(count: int) -> Iterator[np.ndarray]:
    for level in range(count):
        yield np.full((128, 72, 3), 10 * level, np.uint8)


def test_an_overlay_shows_the_frame_dimmed_and_the_skeleton_bright() -> None:
    image = np.full((512, 288, 3), 100, np.uint8)
    poses = two_people()
    picture = overlay(image, poses, 0)
    assert picture.shape == image.shape
    assert tuple(picture[-1, 0]) == (55, 55, 55)
    x, y = (poses.points[0, 0, 2] / 2).astype(int)
    assert tuple(picture[y, x]) == (255, 170, 0)
    # Without the second person the picture has less in it, label included.
    alone = overlay(image, poses.person(0), 0)
    assert (alone != picture).any(axis=2).sum() > 200
    assert image.max() == 100


def test_a_frame_without_anybody_says_so() -> None:
    poses = two_people()
    empty = overlay(None, poses, 8)
    assert empty.shape == (1024, 576, 3)
    assert (empty == GAP).all(axis=2).any()
    assert (empty > 0).any(axis=2).mean() < 0.01
    with pytest.raises(PoseError, match="no frame 10"):
        overlay(None, poses, 10)


def test_the_strip_marks_gaps_cuts_and_the_cursor() -> None:
    poses = two_people()
    width = 92 + 500
    picture = strip(poses, width)
    gap = (picture == GAP).all(axis=2)
    band = len(picture) // 2
    first, second = gap[:band].any(axis=0), gap[band:].any(axis=0)
    frame = (np.arange(width) - 92) // 50
    np.testing.assert_array_equal(first, frame == 8)
    np.testing.assert_array_equal(second, (frame == 8) | ((frame >= 3) & (frame < 6)))
    cut = (picture[:-20] == WHITE).all(axis=(0, 2))
    assert np.flatnonzero(cut).tolist() == [92 + 7 * 50]
    with_cursor = strip(poses, width, cursor=4)
    changed = (with_cursor != picture).any(axis=(0, 2))
    assert frame[changed].min() == frame[changed].max() == 4
    with pytest.raises(PoseError, match="160 pixels"):
        strip(poses, 100)


def test_a_gap_of_one_frame_in_a_long_clip_is_seen() -> None:
    poses = dancer(1)
    scores = np.full((5000, 1, 134), 0.9, np.float32)
    scores[2500] = 0
    long = replace(
        poses, points=np.repeat(poses.points, 5000, 0), scores=scores, times=np.arange(5000) / 30
    )
    assert (strip(long, 300) == GAP).all(axis=2).any()


def test_the_sheet_has_its_tiles_in_order_over_the_strip() -> None:
    poses = two_people()
    picture = sheet(pictures(10), poses, tiles=5, columns=2, tile_width=180)
    height = 320
    assert picture.shape[1] == 360
    assert picture.shape[0] > 3 * height
    tiles = [picture[r * height, c * 180] for r in range(3) for c in range(2)]
    shown = [int(tile[0]) for tile in tiles[:5]]
    assert shown == sorted(shown)
    assert shown[0] == 0
    assert shown[-1] == int(90 * 0.55)
    strip_part = picture[3 * height :]
    assert (strip_part == GAP).all(axis=2).any()


def test_a_sheet_holds_one_frame_at_a_time() -> None:
    held: list[weakref.ref[np.ndarray]] = []
    most = 0

    def stream() -> Iterator[np.ndarray]:
        nonlocal most
        for _ in range(10):
            image = np.zeros((64, 36, 3), np.uint8)
            held.append(weakref.ref(image))
            most = max(most, sum(one() is not None for one in held))
            yield image

    sheet(stream(), two_people(), tiles=3, tile_width=60)
    assert len(held) == 10
    assert most <= 2


def test_overlay_frames_are_even_sized_and_as_many_as_the_poses() -> None:
    poses = two_people()
    frames = list(overlay_frames(pictures(12), poses, width=301))
    assert len(frames) == 10
    assert {frame.shape for frame in frames} == {frames[0].shape}
    assert frames[0].shape[0] % 2 == 0
    assert frames[0].shape[1] == 300
    assert (frames[0] != frames[1]).any()
    assert len(list(overlay_frames(None, poses))) == 10


def test_a_video_that_is_too_short_is_named() -> None:
    with pytest.raises(PoseError, match="ended after 4 frames, the poses hold 10"):
        list(overlay_frames(pictures(4), two_people()))
    with pytest.raises(PoseError, match="8-bit RGB"):
        overlay(np.zeros((10, 10), np.uint8), two_people(), 0)
    with pytest.raises(PoseError, match="contact sheet needs"):
        sheet(None, two_people(), tiles=0)


def test_letters_have_a_dark_edge_of_their_own_width() -> None:
    picture = np.full((24, 260, 3), 128, np.uint8)
    preview._write(picture, "person 0: seen in 30 of 30 frames", (4, 16), (255, 255, 255))
    bright, dark = (
        np.flatnonzero(mask.any(axis=0))
        for mask in ((picture > 200).all(axis=2), (picture < 60).all(axis=2))
    )
    assert len(bright)
    assert len(dark)
    assert abs(int(bright[-1]) - int(dark[-1])) <= 3
    assert abs(int(bright[0]) - int(dark[0])) <= 3


def test_labels_are_as_large_on_a_small_tile_as_on_a_large_picture() -> None:
    poses = two_people().person(0)
    letters = []
    for width, height in ((144, 256), (288, 512)):
        tile = sheet(None, poses, tiles=1, tile_width=width)[:height]
        letters.append(int((np.abs(tile - LABEL) < 60).all(axis=2).sum()))
    assert letters[0] > 20
    assert letters[0] == pytest.approx(letters[1], rel=0.2)
