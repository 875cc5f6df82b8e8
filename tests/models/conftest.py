"""The stand-in hub with one small repository."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.models.fake_hub import FakeHub, use_hub
from tests.models.small_repository import NAME, SETTINGS, WEIGHTS


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[FakeHub]:
    fake = FakeHub(files={NAME: WEIGHTS, "someone/model/config.json": SETTINGS})
    use_hub(fake, tmp_path / "hub", monkeypatch)
    yield fake
    fake.stop()
