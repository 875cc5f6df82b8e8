"""The person's pixels, by the body network's segmentation."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pose import layout
from pose.estimators.blazepose.mask import person_mask
from scripts.tiny.characters import render_clip

SEEDS = (1_000_002, 1_000_012)


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    inside, true = mask > 0.5, truth > 127
    return float((inside & true).sum() / (inside | true).sum())


@pytest.fixture(scope="module", params=SEEDS)
def take(request):
    return render_clip(request.param, 1, (96, 160))


def test_a_person_is_told_from_the_place(take):
    mask = person_mask(take.frames[0], take.points[0], take.scores[0])
    assert mask.shape == (160, 96)
    assert mask.dtype == np.float32
    assert 0 <= mask.min() <= mask.max() <= 1
    assert overlap(mask, take.masks[0]) > 0.8


def test_a_large_picture_has_the_mask_of_a_small_one(take):
    large = cv2.resize(take.frames[0], None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    mask = person_mask(large, 8 * take.points[0], take.scores[0])
    small = person_mask(take.frames[0], take.points[0], take.scores[0])
    reduced = cv2.resize(mask, (96, 160), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced - small).mean() < 0.02


def test_a_person_who_lies_is_told_as_one_who_stands(take):
    lying = np.rot90(take.frames[0])
    points = np.stack([take.points[0][:, 1], 96 - take.points[0][:, 0]], axis=1)
    mask = person_mask(np.ascontiguousarray(lying), points, take.scores[0])
    assert overlap(np.rot90(mask, -1), take.masks[0]) > 0.8


def test_hips_that_are_not_seen_are_below_the_shoulders(take):
    scores = take.scores[0].copy()
    scores[[layout.RIGHT_HIP, layout.LEFT_HIP]] = 0
    mask = person_mask(take.frames[0], take.points[0], scores)
    assert overlap(mask, take.masks[0]) > 0.7


@pytest.mark.parametrize("points", [np.zeros((134, 2)), np.full((134, 2), 40.0)])
def test_nobody_has_an_empty_mask(points):
    picture = np.zeros((64, 64, 3), np.uint8)
    assert not person_mask(picture, points, np.zeros(134)).any()
    assert not person_mask(picture, points, np.ones(134)).any()
