"""The driving shot's background without its person: still, panned, cut, and where it fails."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from animate.driving.skeletons import DrawnSkeletons
from animate.finish.camera import segments
from animate.finish.ground import DrivingGround
from animate.finish.in_shot import Fit, fits, laid
from animate.progress import Quiet, Remembering
from animate.request.values import Size
from pose.sequence import PoseSequence
from tests.scene import BODY, poses

SIZE = (160, 120)
FRAMES = 18
PERSON = (200, 40, 40)


def wall(seed: int, width: int = 420, height: int = 180) -> np.ndarray:
    """(h,w,3): something with corners to follow."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 255, (height, width, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 20, 230, cv2.NORM_MINMAX)


def walker(columns: list[float]) -> PoseSequence:
    """A thin person whose middle is at these columns."""
    points = np.zeros((len(columns), 1, 134, 2), np.float32)
    scores = np.zeros((len(columns), 1, 134), np.float32)
    for frame, column in enumerate(columns):
        points[frame, 0, :18] = (BODY - (0.5, 0)) * (12, 80) + (column, 20)
    scores[..., :18] = 0.9
    times = np.arange(len(columns)) / 25
    return PoseSequence(points=points, scores=scores, canvas=SIZE, fps=Fraction(25), times=times)


def shot(
    backgrounds: list[np.ndarray], columns: list[float]
) -> tuple[list[np.ndarray], DrawnSkeletons]:
    frames = []
    for background, column in zip(backgrounds, columns, strict=True):
        frame = background.copy()
        frame[30:84, int(column) - 2 : int(column) + 3] = PERSON
        frames.append(frame)
    return frames, DrawnSkeletons(walker(columns), Size(*SIZE), "published")


def views(seed: int, starts: list[int]) -> list[np.ndarray]:
    """What a camera sees that looks at parts of a wall."""
    whole = wall(seed)
    return [whole[20 : 20 + SIZE[1], x : x + SIZE[0]].copy() for x in starts]


def recovered(
    frames: list[np.ndarray], person: DrawnSkeletons, cuts: frozenset[int] = frozenset()
) -> tuple[list[np.ndarray], list[str]]:
    progress = Remembering(Quiet())
    ground = DrivingGround(lambda: iter(frames), person, cuts, progress)
    return list(ground), progress.warnings


WALK = [30 + 6 * n for n in range(FRAMES)]


def test_a_still_cameras_background_is_that_of_other_frames_to_the_bit() -> None:
    truth = views(1, [50] * FRAMES)
    backgrounds, remarks = recovered(*shot(truth, WALK))
    for background, wanted in zip(backgrounds, truth, strict=True):
        assert np.array_equal(background, wanted)
    assert remarks == []


def test_a_panning_camera_is_followed() -> None:
    truth = views(2, [20 + 5 * n for n in range(FRAMES)])
    backgrounds, remarks = recovered(*shot(truth, WALK))
    for background, wanted in zip(backgrounds, truth, strict=True):
        difference = np.abs(background.astype(int) - wanted)
        assert np.median(difference) == 0
        assert np.mean(difference) < 2
    assert remarks == []


def test_each_shot_has_its_own_background() -> None:
    truth = [*views(3, [50] * 9), *views(4, [90] * 9)]
    columns = [*WALK[:9], *WALK[:9]]
    backgrounds, remarks = recovered(*shot(truth, columns), frozenset({9}))
    assert np.array_equal(np.stack(backgrounds), np.stack(truth))
    assert remarks == []


def test_what_no_frame_sees_is_guessed_from_around_and_said() -> None:
    plain = [np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)] * 6
    backgrounds, [remark] = recovered(*shot(plain, [80] * 6))
    assert "in frames 0 to 5 up to" in remark
    assert "of what the person hides is seen in no other" in remark
    for background in backgrounds:
        assert np.abs(background.astype(int) - 90).max() <= 6


def test_what_is_guessed_bleeds_no_white_into_what_is_seen() -> None:
    """A slow pan at fractions of a pixel mixes neighbours of the hole with what lies in it."""
    rows = np.linspace(40, 110, SIZE[0] + 20).astype(np.uint8)
    whole = np.repeat(np.repeat(rows[None, :, None], SIZE[1], 0), 3, 2)
    dots = np.random.default_rng(3).integers(0, 2, (SIZE[1] // 6, (SIZE[0] + 20) // 6))
    whole += 12 * cv2.resize(dots.astype(np.uint8), (SIZE[0] + 20, SIZE[1]))[..., None]
    truth = [cv2.warpAffine(whole, np.array([[1, 0, -0.7 * n], [0, 1, 0]]), SIZE) for n in range(8)]
    backgrounds, _ = recovered(*shot(truth, [80.0] * 8))
    assert max(int(background.max()) for background in backgrounds) <= 130


def test_a_camera_that_is_lost_begins_anew_and_is_said() -> None:
    truth = [*views(5, [50] * 9), *views(6, [50] * 9)]  # a cut that nobody told of
    frames, person = shot(truth, [*WALK[:9], *WALK[:9]])
    backgrounds, [remark] = recovered(frames, person)
    assert "the camera could not be followed into frame 9" in remark
    assert np.array_equal(np.stack(backgrounds), np.stack(truth))


def test_a_background_that_moves_by_itself_is_said() -> None:
    rng = np.random.default_rng(0)
    truth = views(7, [50] * FRAMES)
    for frame in truth:  # water, say: the left half is something else in each frame
        frame[:, :110] = rng.integers(0, 255, (SIZE[1], 110, 3), np.uint8)
    _, remarks = recovered(*shot(truth, WALK))
    assert [remark for remark in remarks if "does not fit" in remark or "followed" in remark]


def test_a_camera_that_goes_far_is_followed_in_pieces() -> None:
    whole = wall(8, width=900)
    starts = [12 * n for n in range(50)]
    frames = [whole[20 : 20 + SIZE[1], x : x + SIZE[0]] for x in starts]
    free = np.ones((SIZE[1], SIZE[0]), bool)
    pieces, lost = segments(((frame, free) for frame in frames), frozenset())
    assert lost == []
    assert pieces[0].first == 0
    assert len(pieces) > 1
    assert sum(len(piece.to_first) for piece in pieces) == len(frames)
    assert pieces[0].to_first[5][0, 2] == pytest.approx(60, abs=0.5)


def test_the_person_stands_where_the_driver_stood_in_each_shot() -> None:
    driver = poses(6, size=(160, 120))
    followed = replace(driver, points=driver.points * 0.5 + np.array([7, 3], np.float32))
    ways = fits(followed, driver, frozenset({3}))
    assert len(ways) == 6
    for frame, way in enumerate(ways):
        joints = followed.points[frame, 0, :14]
        moved = joints @ way.matrix[:, :2].T + way.matrix[:, 2]
        np.testing.assert_allclose(moved, driver.points[frame, 0, :14], atol=0.01)
    nobody = replace(driver, scores=0 * driver.scores)
    assert fits(followed, nobody, frozenset())[0] == Fit()


def test_a_person_is_laid_over_a_background_without_a_fringe() -> None:
    frame = np.zeros((40, 40, 4), np.uint8)
    frame[..., :3] = (0, 255, 0)  # the generated background
    frame[10:30, 10:30, :3] = PERSON
    frame[9:31, 9:31, 3] = 128
    frame[10:30, 10:30, 3] = 255
    background = np.full((40, 40, 3), 100, np.uint8)
    page = laid(frame, background, Fit(shift=(5, 0)))
    assert page.shape == (40, 40, 4)
    assert tuple(page[20, 20, :3]) == PERSON
    assert tuple(page[20, 2, :3]) == (100, 100, 100)
    edge = page[20, 14, :3].astype(int)  # half the person, half the wall, nothing green
    assert np.abs(edge - (np.array(PERSON) + 100) / 2).max() < 6
    assert page[20, 14, 3] == 128
