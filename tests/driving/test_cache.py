"""The cache of poses: bounded, the one used last stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from animate.driving import cache
from animate.driving.cache import cached_files, load_poses, over_limit, save_poses
from animate.progress import Quiet, Remembering
from tests.scene import poses


def kept(folder: Path, digit: str, used: float) -> Path:
    file = folder / f"{digit * 32}.npz"
    save_poses(file, poses(3), Quiet())
    os.utime(file, (used, used))
    return file


def test_what_was_not_used_for_longest_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = kept(tmp_path, "a", 1000.0), kept(tmp_path, "b", 2000.0)
    size = first.stat().st_size
    assert over_limit(tmp_path, 2 * size) == []
    assert load_poses(first, poses(3).source, Quiet()) is not None
    assert cached_files(tmp_path) == [first, second]
    monkeypatch.setattr(cache, "LIMIT", 2 * size)
    third = kept(tmp_path, "c", 3000.0)
    assert set(tmp_path.iterdir()) == {first, third}


def test_poses_are_kept_where_old_ones_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(folder: Path, limit: int) -> list[Path]:
        raise FileNotFoundError(folder / "removed by another process")

    monkeypatch.setattr(cache, "over_limit", gone)
    progress = Remembering(Quiet())
    save_poses(tmp_path / f"{'a' * 32}.npz", poses(3), progress)
    assert progress.warnings == []
    assert len(cached_files(tmp_path)) == 1


def test_the_newest_stays_and_other_files_are_not_counted(tmp_path: Path) -> None:
    file = kept(tmp_path, "a", 1000.0)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / f"{'b' * 32}.npz").symlink_to(file)
    assert over_limit(tmp_path, 1) == []
    assert cached_files(tmp_path) == [file]
    assert cached_files(tmp_path / "none") == []
