"""Small videos that several tests read, made anew for each run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.media.clips import click_sound, make_video


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the session's videos."""
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="session")
def plain(media: Path) -> Path:
    """30 frames of 96x64 at 25/s, H.264 in mp4, no sound."""
    return make_video(media / "plain.mp4")


@pytest.fixture(scope="session")
def sounding(media: Path) -> Path:
    """75 frames at 25/s with 3 s of sound that clicks at 0.4, 1.0 and 2.0 s."""
    return make_video(
        media / "sounding.mp4", 75, sound=click_sound(3.0, (0.4, 1.0, 2.0)), size=(64, 64)
    )
