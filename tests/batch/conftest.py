from __future__ import annotations

from pathlib import Path

import pytest

from animate import AnimationRequest
from tests.batch.scripted import request


@pytest.fixture
def requests(tmp_path: Path) -> list[AnimationRequest]:
    (tmp_path / "me.png").write_bytes(b"picture")
    (tmp_path / "dance.mp4").write_bytes(b"video")
    return [request(tmp_path, f"{n}.mp4", seed=n) for n in range(4)]
