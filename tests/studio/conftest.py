from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("starlette", reason="the extra [studio] is not installed")

from animate.media import source_digest
from animate.studio.app import make_app
from animate.studio.desk import Studio
from animate.studio.guard import Guard
from scripts.benchmarks._dancer import dancer
from tests.scene import write_video
from tests.studio.asking import PORT, TOKEN

FRAMES = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with a photo, a video and poses that are said to be of it."""
    root = tmp_path / "shoot"
    root.mkdir()
    PIL.Image.fromarray(np.full((60, 40, 3), 120, np.uint8)).save(root / "me.png")
    write_video(root / "dance.mp4", FRAMES)
    from dataclasses import replace

    poses = replace(dancer(FRAMES), source=source_digest(root / "dance.mp4"))
    poses.save(root / "dance.npz")
    return root


@pytest.fixture
def studio(folder: Path) -> Studio:
    """A studio that does no work by itself."""
    return Studio(folder, most_upload=1 << 20)


@pytest.fixture
def app(studio: Studio) -> Any:
    return Guard(make_app(studio), token=TOKEN, port=PORT)
