"""What killed runs leave is found where they left it."""

from __future__ import annotations

from pathlib import Path

import pytest

from animate import files
from animate.clip.leftovers import leftovers, throw_away


@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize("name", ["shot", "x" * 250])
def test_half_written_images_are_found_from_above(
    tmp_path: Path, name: str, recursive: bool
) -> None:
    folder = tmp_path / name
    with files.gathered_folder(folder) as partial:
        (partial / "0001.png").write_bytes(b"half")
        (living,) = leftovers(tmp_path, recursive=recursive)
        assert (living.path, living.size, living.busy) == (partial, 4, True)
    partial.mkdir()  # as a kill leaves it
    (found,) = leftovers(tmp_path, recursive=recursive)
    assert found.path == partial
    assert not found.busy
    assert throw_away(found) == []
    assert [file.name for file in folder.iterdir()] == ["0001.png"]


def test_other_things_in_folders_below_are_found_only_when_asked(tmp_path: Path) -> None:
    other = files.hidden_name(tmp_path / "shot" / "clip.mp4")
    other.parent.mkdir()
    other.write_bytes(b"half")
    assert not list(leftovers(tmp_path))
    assert [one.path for one in leftovers(tmp_path, recursive=True)] == [other]
