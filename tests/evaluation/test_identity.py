"""Faces of one person are near, other pictures far; the network is the published one."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
import skimage.data

from animate.evaluation.identity import NETWORK, FaceEmbedder, face_crop
from pose.estimators import load_estimator
from pose.estimators.sessions import Network
from pose.extract import extract

ASTRONAUT = skimage.data.astronaut()


@pytest.fixture(scope="module")
def embed() -> FaceEmbedder:
    return FaceEmbedder()


def person(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    poses = extract([picture], load_estimator(), fps=Fraction(1))
    return poses.points[0, 0], poses.scores[0, 0]


def test_the_network_gives_what_its_package_gives() -> None:
    # face-api 1.7.15's own code (tfjs, CPU) on the same picture.
    index = np.arange(150 * 150 * 3, dtype=np.int64)
    picture = ((index * 7919 + ((index * index) % 251) * 31) % 256).astype(np.uint8)
    (embedding,) = Network(NETWORK)(picture.reshape(1, 150, 150, 3))[0]
    expected = [-0.0955108926, 0.0887879282, 0.0494331233, -0.0075193364]
    assert embedding[:4] == pytest.approx(expected, abs=1e-5)
    assert np.linalg.norm(embedding) == pytest.approx(1.3199418, abs=1e-5)


def test_a_face_turned_and_made_smaller_stays_near_and_another_picture_is_far(
    embed: FaceEmbedder,
) -> None:
    points, scores = person(ASTRONAUT)
    known = embed(ASTRONAUT, points, scores)
    assert known is not None
    turn = cv2.getRotationMatrix2D((220, 120), 20, 0.6)
    turned = cv2.warpAffine(ASTRONAUT, turn, (512, 512))
    moved = (points @ turn[:, :2].T + turn[:, 2]).astype(np.float32)
    near = embed(turned, moved, scores)
    assert near is not None
    assert np.linalg.norm(near - known) < 0.3
    exchanged = embed(np.roll(ASTRONAUT, 256, 0), points, scores)
    assert exchanged is not None
    assert np.linalg.norm(exchanged - known) > 0.6


def test_the_eyes_are_levelled() -> None:
    points, scores = person(ASTRONAUT)
    turn = cv2.getRotationMatrix2D((220, 120), 30, 1)
    turned = cv2.warpAffine(ASTRONAUT, turn, (512, 512))
    moved = (points @ turn[:, :2].T + turn[:, 2]).astype(np.float32)
    first, second = face_crop(ASTRONAUT, points, scores), face_crop(turned, moved, scores)
    assert first is not None
    assert second is not None
    assert np.abs(first.astype(int) - second).mean() < 6


def test_faces_that_are_not_seen_or_tiny_have_no_embedding(embed: FaceEmbedder) -> None:
    points, scores = person(ASTRONAUT)
    assert embed(ASTRONAUT, points, scores * 0) is None
    small = cv2.resize(ASTRONAUT, (64, 64), interpolation=cv2.INTER_AREA)
    assert embed(small, points / 8, scores) is None
    assert embed(ASTRONAUT, points + 5000, scores) is None
