"""A toy model, its animator and a scene, for runs that are stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from animate import Animator
from animate.clip import keeper
from tests.scene import write_scene
from tests.toy import toy_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "toy"
    toy_model(folder)
    return folder


@pytest.fixture(scope="module")
def animator(model: Path) -> Animator:
    return Animator.from_pretrained(model, device="cpu")


@pytest.fixture
def scene(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    files: dict[str, Any] = dict(write_scene(tmp_path / "in"))
    output = tmp_path / "out" / "clip.mp4"
    return {**files, "output": output, "retarget": "none", "save_every": 0.0, "decode_chunk": 2}


@pytest.fixture
def at_every_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """These runs are over before work would be kept at its usual pace."""
    monkeypatch.setattr(keeper, "_SHARE", 0)
