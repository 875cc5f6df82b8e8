from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from animate.request.request import AnimationRequest
from pose.layout import BODY
from scripts.evaluate_pair import estimated_again, evaluate
from scripts.tiny.make_demo import main as make_demo

SIDE = 96
TRUNK = 40.0


def standing() -> tuple[np.ndarray, np.ndarray]:
    """Somebody (134,2) whose trunk is 40 pixels long, and scores (134) of a seen body."""
    points = np.full((134, 2), SIDE / 2, np.float32)
    points[BODY][1] = (48, 20)
    points[BODY][8], points[BODY][11] = (40, 20 + TRUNK), (56, 20 + TRUNK)
    scores = np.zeros(134, np.float32)
    scores[BODY] = 1
    return points, scores


class Estimator:
    """Finds these people (N,134,2), one list a call, in the enlarged picture."""

    def __init__(self, answers: list[list[np.ndarray]]) -> None:
        self.answers, self.resets = answers, 0

    def reset(self) -> None:
        self.resets += 1

    def __call__(self, picture: np.ndarray) -> tuple[Any, Any]:
        scale = min(picture.shape[:2]) / SIDE
        people = [points * scale for points in self.answers.pop(0)]
        return people, [standing()[1] for _ in people]


def figures(answers: list[list[np.ndarray]]) -> dict[str, Any]:
    points, scores = standing()
    count = len(answers)
    frames = [np.zeros((SIDE, SIDE, 3), np.uint8)] * count
    return estimated_again(
        frames, np.stack([points] * count), np.stack([scores] * count), Estimator(answers)
    )


def test_joints_are_measured_in_trunks() -> None:
    points, _ = standing()
    assert figures([[points], [points + np.float32((0.1 * TRUNK, 0))]]) == {
        "person_found_percent": 100.0,
        "joints_right_percent": 100.0,
        "joint_distance_trunks": pytest.approx(0.05, abs=0.051),
    }
    away = figures([[points], [points + np.float32((0.5 * TRUNK, 0))]])
    assert away["joints_right_percent"] == 50.0


def test_frames_in_which_nobody_is_found_are_told() -> None:
    points, _ = standing()
    assert figures([[points], []])["person_found_percent"] == 50.0
    assert figures([[]]) == {
        "person_found_percent": 0.0,
        "joints_right_percent": None,
        "joint_distance_trunks": None,
    }


def test_a_pair_is_measured(tmp_path: Path) -> None:
    make_demo(tmp_path)
    request = AnimationRequest(
        reference=tmp_path / "reference.png",
        driving=tmp_path / "driving.mp4",
        output=tmp_path / "nowhere.mp4",
        model="tiny",
        max_frames=3,
    )
    found = evaluate(request)
    assert found["frames"] == 3
    assert 20 < found["background_psnr"] <= found["background_psnr_through_autoencoder"] + 1
    assert found["joints_right_percent"] is None or 0 <= found["joints_right_percent"] <= 100
    assert not list(tmp_path.glob("nowhere*"))
