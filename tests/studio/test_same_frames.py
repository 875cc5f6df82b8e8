"""Corrected poses in a clip: they change it there and only there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from animate import AnimationRequest, Animator
from animate.media import open_video, source_digest
from animate.studio.motion import MotionDesk, edited_path
from pose.clean import clean
from pose.edit import Draft, Move
from pose.layout import LEFT_WRIST
from pose.retarget import retarget
from scripts.benchmarks._dancer import dancer
from scripts.benchmarks.pose_jitter import add_noise
from tests.scene import poses, write_scene
from tests.toy import toy_model

FRAMES, WINDOW, EDITED = 20, 4, 9


def frames(animator: Animator, folder: Path, name: str, **settings: Any) -> np.ndarray:
    output = folder / f"{name}.mkv"
    values = {
        "reference": folder / "reference.png",
        "driving": folder / "driving.mp4",
        "output": output,
        "codec": "ffv1",
        "retarget": "none",
        "steps": 2,
        **settings,
    }
    animator(AnimationRequest.from_dict(values))
    return np.stack([frame.image for frame in open_video(output).read()])


def test_a_moved_joint_changes_the_clip_there_and_only_there(tmp_path: Path) -> None:
    toy_model(tmp_path / "model")
    animator = Animator.from_pretrained(str(tmp_path / "model"), device="cpu")
    files = write_scene(tmp_path, FRAMES)
    estimate = tmp_path / "driving.npz"
    walk = poses(FRAMES, source=source_digest(files["driving"]))
    add_noise(walk, seed=1).save(estimate)
    usual = frames(animator, tmp_path, "usual", poses=estimate)

    desk = MotionDesk(lambda path: path.name)
    desk.save(estimate)
    edited = {"poses": edited_path(estimate), "smooth": False}
    np.testing.assert_array_equal(frames(animator, tmp_path, "unedited", **edited), usual)

    move = {"kind": "move", "first": EDITED, "last": EDITED, "points": [[LEFT_WRIST, 8, 6]]}
    desk.edit(estimate, 0, move)
    desk.save(estimate)
    difference = np.abs(frames(animator, tmp_path, "edited", **edited).astype(int) - usual)
    # One level is rounding. Frames see those of their own windows, at each of the two steps.
    changed = np.flatnonzero((difference > 1).any(axis=(1, 2, 3)))
    assert EDITED in changed
    assert changed.min() > EDITED - 2 * WINDOW
    assert changed.max() < EDITED + 2 * WINDOW


@pytest.mark.parametrize(("mode", "most"), [("none", 0), ("affine", 0), ("robust", 0.01)])
def test_the_fit_to_the_photo_hardly_moves_with_one_joint(mode: str, most: float) -> None:
    base = clean(add_noise(dancer(60), seed=1))
    reference = dancer(5).select([2])
    reference = replace(reference, points=reference.points * 0.7 + 20)
    x, y = (base.points[30, 0, LEFT_WRIST] + 40).tolist()
    moved = Draft(base, [Move(first=30, last=30, points=((LEFT_WRIST, x, y),))]).sequence
    before, after = (retarget(each, reference, mode).sequence.points for each in (base, moved))
    difference = np.abs(after - before).max(axis=(1, 3))
    assert difference[30, LEFT_WRIST] > 20
    difference[30, LEFT_WRIST] = 0
    assert difference.max() <= most
