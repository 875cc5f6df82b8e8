"""Files are whole or absent."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from animate import files
from animate.batch.records import read_record
from animate.batch.rows import read_sheet
from animate.clip.record import ClipRecord
from animate.errors import MediaError, UserError
from animate.models.store import read_json
from animate.models.variants import load_variant
from animate.request.yaml_file import read_yaml


def hidden(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(files.PARTIAL)]


def test_write_replaces_whole(tmp_path: Path) -> None:
    place = tmp_path / "a.txt"
    files.write_text(place, "one")
    files.write_text(place, "two")
    assert place.read_text() == "two"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def interrupted_write(place: Path, error: type[BaseException]) -> None:
    with files.atomic(place) as partial:
        partial.write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    place = tmp_path / "a.txt"
    place.write_text("old")
    with pytest.raises(error):
        interrupted_write(place, error)
    assert place.read_text() == "old"
    assert not hidden(tmp_path)


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    files.write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_long_and_odd_names(tmp_path: Path) -> None:
    for name in ("x" * 255, "ö" * 127, "[a]*?.txt", "-rf"):
        files.write_text(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"


@pytest.mark.parametrize("kind", ["atomic", "atomic_folder"])
def test_a_killed_writers_leftover_goes_and_a_living_ones_stays(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "clip.mp4"
    program = (
        "import sys, time\nfrom animate import files\n"
        f"with files.{kind}(sys.argv[1]) as p:\n    print('in', flush=True); time.sleep(60)\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, place], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        assert len(hidden(tmp_path)) == 2
        writers[0].send_signal(signal.SIGKILL)
        writers[0].wait()
        files.write_text(place, "done")
        assert len(hidden(tmp_path)) == 1
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    files.write_text(place, "done")
    assert not hidden(tmp_path)


def test_folder(tmp_path: Path) -> None:
    place = tmp_path / "frames"
    for text in ("one", "two"):
        with files.atomic_folder(place, overwrite=True) as partial:
            (partial / "a").write_text(text)
        assert (place / "a").read_text() == text
    with pytest.raises(FileExistsError), files.atomic_folder(place) as partial:
        (partial / "a").write_text("three")
    with pytest.raises(KeyboardInterrupt), files.atomic_folder(place, overwrite=True):
        raise KeyboardInterrupt
    assert (place / "a").read_text() == "two"
    assert os.listdir(tmp_path) == ["frames"]


def test_a_folder_that_cannot_be_gathered_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(files, "_create_partial", full)
    (tmp_path / "there").mkdir()
    for name in ("new", "there"):
        with pytest.raises(OSError, match="no space"), files.gathered_folder(tmp_path / name):
            pass
    assert os.listdir(tmp_path) == ["there"]


def test_sha256(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "a").write_bytes(data)
    assert files.sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_unreadable_inputs_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "file").write_text("x")
    for path, words in (
        (tmp_path / "missing", "does not exist"),
        (tmp_path / "empty", "is empty"),
        (tmp_path, "is a folder"),
        (tmp_path / "file" / "below", "not a directory"),
        (tmp_path / "nul\0", "null"),
        (tmp_path / ("x" * 300), "name too long"),
    ):
        with pytest.raises(MediaError, match=words) as caught:
            files.check_readable(path, "driving video", MediaError)
        assert "driving video" in str(caught.value)
    assert files.check_readable(tmp_path / "file") == tmp_path / "file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_permissions_are_named(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0)
    with pytest.raises(UserError, match="permission denied"):
        files.check_readable(tmp_path / "secret")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="permission denied"):
            files.check_output(tmp_path / "a", overwrite=False)
    finally:
        tmp_path.chmod(0o700)


def test_outputs_are_checked_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path, words in (
        (tmp_path / "no" / "a.mp4", "mkdir -p"),
        (tmp_path / "file" / "a.mp4", "is not a folder"),
        (tmp_path, "is a folder"),
        (tmp_path / "file", "exists already"),
        (Path("/dev/null"), "not a regular file"),
        (Path("/proc/a.mp4"), "cannot be written"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            files.check_output(path, overwrite=False)
        assert str(path) in str(caught.value) or str(path.parent) in str(caught.value)
    files.check_output(tmp_path / "file", overwrite=True)
    files.check_output(tmp_path / "new", overwrite=False)
    assert (tmp_path / "file").read_text() == "x"
    assert os.listdir(tmp_path) == ["file"]


def test_the_lock_ends_with_the_block(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        files.write_text(tmp_path / "a", str(time.time()))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_came_meanwhile_stays_where_nothing_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"

    def come(partial: Path) -> None:
        path.write_text("theirs")

    with (
        pytest.raises(FileExistsError),
        files.atomic(path, replace=False, before_rename=come) as partial,
    ):
        partial.write_text("ours")
    with pytest.raises(FileExistsError), files.gathered_folder(tmp_path, replace=False) as folder:
        (folder / "a").write_text("ours")
    assert path.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["a"]
    files.write_bytes(tmp_path / "b", b"ours", replace=False)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize("kind", ["atomic", "gathered_folder"])
def test_what_is_finished_can_be_looked_at_before_it_appears(tmp_path: Path, kind: str) -> None:
    seen = []

    def look(partial: Path) -> None:
        file = partial / "a" if partial.is_dir() else partial
        seen.append((file.read_text(), (tmp_path / "f" / "a").exists()))

    (tmp_path / "f").mkdir()
    if kind == "atomic":
        with files.atomic(tmp_path / "f" / "a", before_rename=look) as partial:
            partial.write_text("x")
    else:
        with files.gathered_folder(tmp_path / "f", before_rename=look) as folder:
            (folder / "a").write_text("x")
    assert seen == [("x", False)]
    assert (tmp_path / "f" / "a").read_text() == "x"


def test_a_killed_probe_goes_with_the_next(tmp_path: Path) -> None:
    files.hidden_name(tmp_path / "0001.png").touch()
    files.check_output(tmp_path / "0001.png", overwrite=True)
    assert not os.listdir(tmp_path)


def test_a_link_is_replaced_where_it_is_not_to_be_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    files.write_bytes(tmp_path / "link", b"ours", follow=False)
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / "link").is_symlink()


def test_a_link_that_leads_in_a_circle_is_refused_in_words(tmp_path: Path) -> None:
    circle = tmp_path / "clip.mp4"
    circle.symlink_to(circle)
    assert files.real_path(circle) == circle
    for check in (files.check_readable, partial(files.check_output, overwrite=True)):
        with pytest.raises(UserError, match="symbolic links"):
            check(circle)
    assert circle.is_symlink()


def kinds_of_pipes(folder: Path) -> dict[str, Callable[[], object]]:
    """Readers of this program's own kinds of files, by the name of the file that each reads."""
    return {
        "rows.jsonl": lambda: read_sheet(folder / "rows.jsonl"),
        "rows.csv": lambda: read_sheet(folder / "rows.csv"),
        "rows.yaml": lambda: read_sheet(folder / "rows.yaml"),
        "settings.yaml": lambda: read_yaml(folder / "settings.yaml"),
        "variant.yaml": lambda: load_variant(folder),
        "config.json": lambda: read_json(folder / "config.json"),
        "clip.json": lambda: ClipRecord.read(folder / "clip.json"),
    }


@pytest.mark.parametrize("name", kinds_of_pipes(Path()))
def test_no_pipe_is_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError):
        kinds_of_pipes(tmp_path)[name]()
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(UserError):
        kinds_of_pipes(tmp_path)[name]()


def test_a_pipe_is_no_record_of_a_job(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "clip.mp4.job.json")
    assert read_record(tmp_path / "clip.mp4.job.json") is None
