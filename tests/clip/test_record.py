"""Each clip has a record of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from animate.clip.record import sidecar_path
from animate.errors import MediaError


def test_records_stand_beside_clips() -> None:
    assert sidecar_path(Path("a/clip.mp4")) == Path("a/clip.json")
    assert sidecar_path(Path("a/shot/%04d.png")) == Path("a/shot.json")


def test_versions_of_a_folder_have_records_of_their_own() -> None:
    first, second = (sidecar_path(Path(f"shot.v00{n}/%04d.png")) for n in (1, 2))
    assert (first.name, second.name) == ("shot.v001.json", "shot.v002.json")


def test_numbered_images_in_the_current_folder_have_one_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shot").mkdir()
    monkeypatch.chdir(tmp_path / "shot")
    assert sidecar_path(Path("%04d.png")) == tmp_path / "shot.json"


def test_numbered_images_in_the_folder_above_have_one_beside_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shot" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "shot" / "below")
    assert sidecar_path(Path("../%04d.png")) == tmp_path / "shot.json"


def test_the_root_folder_has_no_place_for_one() -> None:
    for clip in ("/%04d.png", "/../%04d.png"):
        with pytest.raises(MediaError, match="root folder"):
            sidecar_path(Path(clip))
