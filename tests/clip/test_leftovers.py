"""What killed runs leave is found where they left it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from animate import files
from animate.clip.leftovers import leftovers, throw_away
from animate.clip.marker import MARKER, Marker
from animate.clip.work_folder import SUFFIX
from animate.errors import WorkError


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


def marked(folder: Path) -> Path:
    folder.mkdir()
    (folder / MARKER).write_bytes(Marker(clip="/clips/shot.mp4", begun=None).encoded())
    return folder


def test_what_this_program_makes_is_never_a_pipe_a_link_or_a_long_lock(tmp_path: Path) -> None:
    pipe = files.hidden_name(tmp_path / "pipe.mp4")
    os.mkfifo(pipe)
    files.hidden_name(tmp_path / "link.mp4").symlink_to(tmp_path)
    note = files.claim_name(tmp_path / "note.mp4")
    note.write_bytes(b"what somebody has noted under the name of a lock")
    other = files.claim_name(tmp_path / "other.mp4")
    other.write_bytes(b"1\n")
    os.link(other, tmp_path / "under another name")
    assert not list(leftovers(tmp_path))


@pytest.mark.parametrize(
    "make",
    [os.mkdir, os.mkfifo, lambda path: path.symlink_to("elsewhere"),
     lambda path: path.write_text("longer than the number of a process is")],
)  # fmt: skip
def test_work_goes_and_what_stands_in_the_place_of_its_lock_stays(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    work = marked(tmp_path / f".shot.mp4{SUFFIX}")
    make(work / "lock")
    (left,) = leftovers(tmp_path)
    assert throw_away(left) == ["lock"]
    assert [path.name for path in work.iterdir()] == ["lock"]
    assert not list(leftovers(tmp_path))


def test_what_cannot_go_is_found_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = marked(tmp_path / f".shot.mp4{SUFFIX}")
    (left,) = leftovers(tmp_path)
    refused = OSError(errno.EPERM, "Operation not permitted")

    def refuse(path: Path) -> None:
        raise refused

    monkeypatch.setattr("animate.clip.work_folder.remove_partial", refuse)
    with pytest.raises(WorkError, match="cannot be removed: operation not permitted"):
        throw_away(left)
    assert [path.name for path in tmp_path.iterdir()] == [work.name]
    assert [left.path for left in leftovers(tmp_path)] == [work]


@pytest.mark.parametrize("closed", ["folder", "file"])
def test_what_cannot_be_looked_into_is_named_and_the_others_are_found(
    tmp_path: Path, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (files.hidden_name(tmp_path / name / "a.mp4") for name in "ab")
    for path in (first, second):
        path.parent.mkdir()
        path.write_bytes(b"half")
    denied = first if closed == "file" else first.parent
    # The system's own refusal is not for tests: root is refused nothing.
    for name in ("open", "listdir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name), denied))
    notes: list[str] = []
    found = list(leftovers(tmp_path, recursive=True, warn=notes.append))
    assert [left.path for left in found] == [second]
    assert notes == [f"{denied} cannot be looked into: permission denied; passed by"]


def refusing(function: Callable[..., object], denied: Path) -> Callable[..., object]:
    def wrapped(path: Path, *arguments: object, **named: object) -> object:
        if path == denied:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return function(path, *arguments, **named)

    return wrapped
