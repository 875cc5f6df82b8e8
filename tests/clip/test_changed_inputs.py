"""Files that are changed while a clip is made of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from animate import AnimationRequest, Animator
from animate.clip.record import ClipRecord
from animate.clip.write import write_clip
from animate.driving.poses import extract_poses
from animate.errors import MediaError


def test_an_input_that_changes_during_the_run_is_told_and_recorded(
    animator: Animator, scene: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def copied_over(*arguments: Any, **named: Any) -> Any:
        os.utime(scene["driving"], (0, 0))  # the same bytes: no change
        scene["reference"].write_bytes(scene["reference"].read_bytes() + b"\0")
        return write_clip(*arguments, **named)

    monkeypatch.setattr("animate.clip.make.write_clip", copied_over)
    result = animator(AnimationRequest.from_dict(scene))
    told = [warning for warning in result.warnings if "was changed while" in warning]
    assert told == [
        warning for warning in ClipRecord.read(result.sidecar).warnings if warning in told
    ]
    assert [warning.split()[3] for warning in told] == ["reference"]


def test_poses_of_a_video_that_changes_meanwhile_are_not_kept(
    animator: Animator, scene: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copied_over(*arguments: Any, **named: Any) -> Any:
        scene["driving"].write_bytes(scene["driving"].read_bytes() + b"\0" * 9)
        return extract_poses(*arguments, **named)

    monkeypatch.setattr("animate.driving.poses.extract_poses", copied_over)
    values = {**scene, "poses": None, "cache": tmp_path / "cache"}
    with pytest.raises(MediaError, match="changed while its poses"):
        animator(AnimationRequest.from_dict(values))
    assert not (tmp_path / "cache").exists()
