"""`cnx clean`; what counts as left behind is tested with the work folders."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from animate.cli.main import main
from animate.clip import leftovers
from animate.files import hidden_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    hidden_name(tmp_path / "clip.mp4").write_bytes(bytes(1000))
    return tmp_path


@pytest.mark.parametrize("given", [["--json-progress"], ["--progress", "json"]])
def test_programs_are_told_in_json(
    folder: Path, given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["clean", str(folder), "--yes", *given]) == 0
    shown = capsys.readouterr()
    events = [json.loads(line) for line in shown.out.splitlines()]
    assert [event["event"] for event in events] == ["note"] * 3
    assert "1,000 bytes freed" in events[2]["text"]
    assert shown.err == ""


def test_people_are_told_in_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clean", str(folder), "--dry-run"]) == 0
    assert "1 thing, 1,000 bytes would be freed" in capsys.readouterr().err
    assert main(["clean", str(folder), "--quiet", "--yes"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")
    assert not list(folder.iterdir())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_name_of_two_lines_is_told_in_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden_name(tmp_path / "clip\nnothing was removed").write_bytes(b"1")
    assert main(["clean", str(tmp_path), "--yes"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "clip\\nnothing was removed" in lines[0]


@pytest.mark.parametrize(("answer", "removed"), [("y\n", True), ("n\n", False), ("", False)])
def test_on_a_terminal_it_asks(
    folder: Path,
    answer: str,
    removed: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert main(["clean", str(folder)]) == 0
    said = capsys.readouterr().err
    assert said.index("would remove") < said.index("remove 1 thing, 1,000 bytes? [y/N]")
    assert bool(list(folder.iterdir())) is not removed


def test_where_nobody_can_be_asked_nothing_goes_unasked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for stdin in (io.StringIO("y\n"), None):
        monkeypatch.setattr("sys.stdin", stdin)
        assert main(["clean", str(folder)]) == 2
        assert "give --yes to remove" in capsys.readouterr().err
        assert list(folder.iterdir())


def test_the_cache_of_poses_goes_when_asked_for_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["clean", "--cache", "--yes"]) == 0
    cache = tmp_path / "cnx-animate" / "poses"
    cache.mkdir(parents=True)
    (cache / "mine.npz").write_bytes(b"1")
    (cache / f"{'0a' * 16}.npz").write_bytes(bytes(1000))
    (cache / "paces.json").write_text("{}")
    assert main(["clean", "--cache", "--dry-run"]) == 0
    told = capsys.readouterr().err
    assert f"1,002 bytes of {cache} (poses of 1 video, paces and colours) would be freed" in told
    assert main(["clean", "--cache"]) == 2
    assert main(["clean", "--cache", "--yes"]) == 0
    assert [file.name for file in cache.iterdir()] == ["mine.npz"]


def test_a_cache_of_ones_own_is_emptied_by_its_name(tmp_path: Path) -> None:
    kept = [f"{'0a' * 16}.npz", f"{'1b' * 16}.npz", f"{'2c' * 16}.json", "paces.json"]
    for name in (*kept, "mine.json"):
        (tmp_path / name).write_bytes(b"1")
    assert main(["clean", "--cache", "--recursive", str(tmp_path), "--yes"]) == 2
    assert main(["clean", "--cache", str(tmp_path), "--yes"]) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["mine.json"]


def test_one_that_cannot_go_keeps_no_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = hidden_name(folder / "another.mp4")
    refused.write_bytes(b"half")
    remove = leftovers.remove_partial

    def refusing(path: Path) -> None:
        if path == refused:
            raise PermissionError(13, "Permission denied")
        remove(path)

    monkeypatch.setattr(leftovers, "remove_partial", refusing)
    assert main(["clean", str(folder), "--yes"]) == 2
    assert list(folder.iterdir()) == [refused]
    assert f"{refused} cannot be removed: permission denied" in capsys.readouterr().err
