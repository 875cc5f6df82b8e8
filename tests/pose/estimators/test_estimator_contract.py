"""What every estimator promises, asked of all of them."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from pose import estimators
from pose.errors import PoseError
from pose.estimators.base import Estimator, ParallelEstimator
from tests.pose import figure

PICTURE = figure.scene((432, 640), (216, 40, 560, 0.4))
PICTURE[:6, :6] = 255  # the stand-in networks look for white
PARALLEL = ("blazepose", "dwpose")
BLANK = np.full((160, 240, 3), 70, np.uint8)


@pytest.fixture(params=estimators.NAMES)
def estimator(request: pytest.FixtureRequest) -> Estimator:
    found = request.getfixturevalue(request.param.replace("-", "_"))
    return found() if inspect.isfunction(found) else found


def test_keeps_the_protocol(estimator):
    assert isinstance(estimator, Estimator)
    assert estimator.name in estimators.NAMES
    assert int(estimator.digest, 16) > 0


def test_a_person_is_found(estimator):
    estimator.reset()
    points, scores = estimator(PICTURE)
    people = len(points)
    assert people >= 1
    assert points.shape == (people, 134, 2)
    assert scores.shape == (people, 134)
    assert points.dtype == scores.dtype == np.float32
    assert np.isfinite(points).all()
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert (scores[0, :18] >= 0.3).sum() >= 10


def test_nobody_is_no_error(estimator):
    estimator.reset()
    points, scores = estimator(BLANK)
    assert points.shape == (0, 134, 2)
    assert scores.shape == (0, 134)


def test_the_same_frame_gives_the_same_points_after_a_reset(estimator):
    estimator.reset()
    first = estimator(PICTURE)
    estimator(BLANK)
    estimator.reset()
    again = estimator(PICTURE)
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one, other)


def test_those_that_take_several_frames_at_a_time(estimator):
    assert isinstance(estimator, ParallelEstimator) == (estimator.name in PARALLEL)


@pytest.mark.parametrize("estimator", PARALLEL, indirect=True)
def test_a_fork_has_its_own_memory(estimator):
    assert estimator.stretch >= 1
    estimator.reset()
    alone = [estimator(PICTURE) for _ in range(2)]
    estimator.reset()
    fork = estimator.fork()
    turns = []
    for _ in range(2):
        turns.append(estimator(PICTURE))
        fork(BLANK)
    for one, other in zip(alone, turns, strict=True):
        assert np.array_equal(one[0], other[0])


def test_the_frame_is_not_changed(estimator):
    before = PICTURE.copy()
    estimator(PICTURE)
    assert np.array_equal(PICTURE, before)


def test_grey_and_sixteen_bits_and_alpha_are_pictures_too(estimator):
    grey = np.ascontiguousarray(PICTURE[..., 1])
    estimator.reset()
    expected = estimator(np.repeat(grey[..., None], 3, axis=2))
    opaque = np.dstack([PICTURE, np.full(PICTURE.shape[:2], 255, np.uint8)])
    for same in (grey, grey[..., None], grey.astype(np.uint16) * 257):
        estimator.reset()
        assert np.array_equal(estimator(same)[0], expected[0])
    estimator.reset()
    plain = estimator(PICTURE)
    estimator.reset()
    assert np.array_equal(estimator(opaque)[0], plain[0])


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((2, 8, 8, 3), np.uint8), "one RGB frame"),
        (np.zeros((8, 8, 5), np.uint8), r"\(8, 8, 5\)"),
        (np.zeros((0, 8, 3), np.uint8), r"\(0, 8, 3\)"),
    ],
)
def test_what_is_no_picture_is_refused(estimator, frame, message):
    with pytest.raises(PoseError, match=message):
        estimator(frame)


@pytest.mark.parametrize("size", [(1, 1), (2000, 3), (3, 700)])
def test_odd_sizes_are_looked_at(estimator, size):
    estimator.reset()
    points, _ = estimator(np.zeros((size[1], size[0], 3), np.uint8))
    assert len(points) == 0


def test_unknown_names_and_options_are_refused():
    with pytest.raises(PoseError, match=r"'openpose'.*blazepose, dwpose, controlnet-aux"):
        estimators.load_estimator("openpose")
    for name in estimators.NAMES:
        with pytest.raises(PoseError, match="no option colour"):
            estimators.load_estimator(name, colour="red")
