"""The reference's face over frames: where the pose allows it, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from animate.finish.face import ReferenceFace
from pose.layout import FACE
from pose.sequence import PoseSequence

SIZE = (120, 160)


def face(centre: tuple[float, float], width: float, height: float) -> PoseSequence:
    """One person of whom a round face is seen."""
    points = np.zeros((1, 1, 134, 2), np.float32)
    scores = np.zeros((1, 1, 134), np.float32)
    angles = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    points[0, 0, FACE] = np.stack([np.cos(angles) * width, np.sin(angles) * height], 1) + centre
    scores[0, 0, FACE] = 0.9
    return PoseSequence(
        points=points, scores=scores, canvas=SIZE, fps=Fraction(1), times=np.zeros(1)
    )


@pytest.fixture
def picture() -> np.ndarray:
    """A reference with a chequered face around (40, 50)."""
    y, x = np.mgrid[0:160, 0:120]
    image = np.full((160, 120, 3), 90, np.uint8)
    image[(np.hypot(x - 40, y - 50) < 26) & ((x // 6 + y // 6) % 2 == 0)] = 190
    return image


def test_a_face_in_the_same_pose_is_the_references(picture: np.ndarray) -> None:
    person = face((40, 50), 20, 24)
    followed = face((70, 90), 20, 24)
    frame = np.full((160, 120, 3), 120, np.uint8)
    page = ReferenceFace(picture, person, followed)(0, frame)
    inner, wanted = page[80:100, 60:80].astype(int), picture[40:60, 30:50].astype(int)
    assert np.corrcoef(inner.ravel(), wanted.ravel())[0, 1] > 0.99
    assert abs(inner.mean() - 120) < 12  # in the frame's own light
    assert np.array_equal(page[:50], frame[:50])
    assert np.array_equal(page[:, :35], frame[:, :35])


def test_a_face_that_is_turned_otherwise_stays_as_it_was_generated(picture: np.ndarray) -> None:
    person = face((40, 50), 20, 24)
    frame = np.full((160, 120, 3), 120, np.uint8)
    turned = ReferenceFace(picture, person, face((70, 90), 3, 24))
    assert np.array_equal(turned(0, frame), frame)
    between = ReferenceFace(picture, person, face((70, 90), 9, 24))(0, frame).astype(int)
    whole = ReferenceFace(picture, person, face((70, 90), 20, 24))(0, frame).astype(int)
    assert 0 < np.abs(between - 120).max() <= np.abs(whole - 120).max()


def test_a_face_that_is_not_seen_or_out_of_the_picture_changes_nothing(
    picture: np.ndarray,
) -> None:
    person = face((40, 50), 20, 24)
    frame = np.full((160, 120, 3), 120, np.uint8)
    unseen = replace(person, scores=0 * person.scores)
    assert np.array_equal(ReferenceFace(picture, person, unseen)(0, frame), frame)
    assert np.array_equal(ReferenceFace(picture, unseen, person)(0, frame), frame)
    outside = face((400, 500), 20, 24)
    assert np.array_equal(ReferenceFace(picture, person, outside)(0, frame), frame)
