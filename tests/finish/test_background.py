"""The reference's background behind the moving person: put back, without borders or ghosts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from animate.evaluation.measures import psnr
from animate.finish.background import LockedBackground
from animate.finish.body import blurred, body_unit, distance, fading
from animate.finish.colour import AnchoredColour

SIZE = (128, 192)


def limbs(shift: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    x = 44 + shift
    return [((x, 40), (x, 110)), ((x, 110), (x - 9, 170)), ((x, 110), (x + 9, 170)),
            ((x, 55), (x - 16, 95)), ((x, 55), (x + 16, 95)), ((x, 30), (x, 40))]  # fmt: skip


def skeleton(shift: int) -> np.ndarray:
    picture = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    for a, b in limbs(shift):
        cv2.line(picture, a, b, (255, 80, 0), 2)
    return picture


def ground() -> np.ndarray:
    rng = np.random.default_rng(4)
    noise = rng.integers(0, 255, (SIZE[1], SIZE[0], 3)).astype(np.float32)
    return (cv2.GaussianBlur(noise, (0, 0), 1.2) * 1.6 - 80).clip(0, 255).astype(np.uint8)


def picture(shift: int) -> np.ndarray:
    """The person in red, wider than the skeleton, on the ground."""
    made = ground()
    for a, b in limbs(shift):
        cv2.line(made, a, b, (200, 30, 40), 11)
    return made


def as_generated(shift: int, tint: tuple[int, int, int] = (14, -6, 10)) -> np.ndarray:
    """What a model makes of it: softer, and tinted."""
    return (blurred(picture(shift).astype(np.float32), 1.5) + tint).clip(0, 255).astype(np.uint8)


@pytest.fixture
def unit() -> float:
    return body_unit([skeleton(0)])


def outside(shift: int, unit: float, reach: float = 2.4) -> np.ndarray:
    away = np.minimum(distance(skeleton(0), unit), distance(skeleton(shift), unit))
    return away > reach


def test_the_unit_follows_the_bodys_size() -> None:
    small = cv2.resize(skeleton(0), (64, 96), interpolation=cv2.INTER_AREA)
    assert body_unit([small]) == pytest.approx(body_unit([skeleton(0)]) / 2, rel=0.05)
    assert body_unit([np.zeros((9, 9, 3), np.uint8)]) == 0
    half = skeleton(0)[:100]  # cut off at the hips
    assert body_unit([half]) > body_unit([skeleton(0)]) * 0.35


def test_distances_and_fading() -> None:
    away = distance(skeleton(0), 10.0)
    assert away[60, 44] == 0
    assert away[30, 44 + 60] == pytest.approx(6, abs=0.3)
    assert distance(np.zeros_like(skeleton(0)), 10.0).min() > 1000
    values = np.array([0.0, 1.0, 1.5, 2.0, 9.0], np.float32)
    assert fading(values, 1, 2) == pytest.approx([1, 1, 0.5, 0, 0])


def test_the_background_comes_back_and_the_person_stays(unit: float) -> None:
    lock = LockedBackground(picture(0), skeleton(0), unit)
    for shift in (0, 12, 24):
        frame = as_generated(shift)
        made = lock(frame, skeleton(shift))
        where = outside(shift, unit)
        assert psnr(frame, picture(0), where) < 28
        assert psnr(made, picture(0), where) > 38
        person = distance(skeleton(shift), unit) < 0.3
        assert psnr(made, frame, person) > 26


def test_no_ghost_of_the_references_person(unit: float) -> None:
    """Where it stood, and nobody does now, its colour is not to be seen."""
    lock = LockedBackground(picture(0), skeleton(0), unit)
    shift = 50
    frame = as_generated(shift)
    made = lock(frame, skeleton(shift))
    stood = np.abs(picture(0).astype(int) - ground()).max(-1) > 40
    gone = stood & (distance(skeleton(shift), unit) > 1.5)
    truth = as_generated(shift)
    assert gone.sum() > 500
    assert np.abs(made[gone].astype(int) - truth[gone]).mean() < 12
    ghost = np.abs(made[gone].astype(int) - picture(0)[gone]).mean()
    assert ghost > 50


def test_no_border_shows_where_the_pictures_meet(unit: float) -> None:
    """A tint of the generated part fades: no step in the difference to the ground."""
    flat = np.full_like(picture(0), 120)
    lock = LockedBackground(flat, skeleton(0), unit)
    made = lock(flat + np.uint8(12), skeleton(10)).astype(int) - 120
    assert made.max() <= 13
    steps = max(np.abs(np.diff(made[..., 1], axis=axis)).max() for axis in (0, 1))
    assert steps <= 3
    assert made[outside(10, unit)].max() <= 1


def test_a_mask_closes_slowly_and_forgets_at_a_cut(unit: float) -> None:
    lock = LockedBackground(picture(0), skeleton(0), unit)
    lock(as_generated(60), skeleton(60))
    after = lock(as_generated(0), skeleton(0))
    fresh = LockedBackground(picture(0), skeleton(0), unit)(as_generated(0), skeleton(0))
    where = distance(skeleton(60), unit) < 0.5
    assert np.abs(after[where].astype(int) - fresh[where]).mean() > 1
    lock(as_generated(60), skeleton(60))
    assert np.array_equal(lock(as_generated(0), skeleton(0), cut=True), fresh)


def tints(frames: list[np.ndarray], where: np.ndarray) -> np.ndarray:
    return np.array([frame[where].astype(float).mean(0) for frame in frames])


def test_colours_are_held_without_flicker(unit: float) -> None:
    """A tint that drifts and wavers: what is left is a fraction of it, and changes no faster."""
    anchor = AnchoredColour(picture(0), skeleton(0), unit, memory=6)
    drift = [np.array([0.4, -0.3, 0.2]) * n + 3 * np.sin(n) for n in range(40)]
    given, made = [], []
    for n, tint in enumerate(drift):
        frame = (picture(n % 10).astype(float) + tint).clip(0, 255).astype(np.uint8)
        given.append(frame)
        made.append(anchor(frame, skeleton(n % 10)))
    where = outside(5, unit)
    truth = picture(0)[where].astype(float).mean(0)
    before, after = (np.abs(tints(f, where) - truth).mean() for f in (given, made))
    assert after < before / 2
    changes = [np.abs(np.diff(tints(f, where), axis=0)).mean() for f in (given, made)]
    assert changes[1] < changes[0] * 1.15


def test_right_colours_are_left_alone(unit: float) -> None:
    anchor = AnchoredColour(picture(0), skeleton(0), unit, memory=6)
    assert psnr(anchor(picture(0), skeleton(0)), picture(0)) > 45


def test_without_anybody_nothing_can_be_compared(unit: float) -> None:
    nobody = np.zeros_like(skeleton(0))
    anchor = AnchoredColour(picture(0), nobody, unit, memory=6)
    made = anchor(as_generated(0), nobody)  # all is background then
    assert psnr(made, picture(0)) > psnr(as_generated(0), picture(0))
