"""`cnx clean`; what counts as left behind is tested with the work folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from animate.cli.main import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".clip.mp4.0123abcd.partial").write_bytes(bytes(1000))
    return tmp_path


@pytest.mark.parametrize("given", [["--json-progress"], ["--progress", "json"]])
def test_programs_are_told_in_json(
    folder: Path, given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["clean", str(folder), *given]) == 0
    shown = capsys.readouterr()
    events = [json.loads(line) for line in shown.out.splitlines()]
    assert [event["event"] for event in events] == ["note", "note"]
    assert "1,000 bytes freed" in events[1]["text"]
    assert shown.err == ""


def test_people_are_told_in_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clean", str(folder), "--dry-run"]) == 0
    assert "1 thing, 1,000 bytes would be freed" in capsys.readouterr().err
    assert main(["clean", str(folder), "--quiet"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")
    assert not list(folder.iterdir())
