"""A short form of `python -m scripts.robustness.long_batch FOLDER`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.robustness import long_batch


@pytest.mark.slow
def test_twenty_jobs_two_bad_one_kill(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    given = [str(tmp_path / "e"), "--jobs", "20", "--kills", "1", "--json", str(file)]
    assert long_batch.main(given) == 0
    figures = json.loads(file.read_text())
    assert figures["counts"] == {"done": 18, "missing-file": 1, "media": 1}
    assert figures["faults"] == []


def test_what_is_lost_doubled_or_left_is_noticed(tmp_path: Path) -> None:
    expected = {"a.mp4": "done", "b.mp4": "pose", "c.mp4": "done"}
    for name, status, kind in (("a", "done", None), ("b", "failed", "media")):
        values = {"output": str(tmp_path / f"{name}.mp4"), "status": status, "error_kind": kind}
        (tmp_path / f"{name}.job.json").write_text(json.dumps(values))
    for name in ("a.mp4", "b.mp4", ".a.mp4.0123abcd.partial"):
        (tmp_path / name).touch()
    faults = [fault.partition("/")[2] for fault in long_batch.compare(tmp_path, expected)]
    assert faults == [
        "b.mp4: media, not pose",
        "c.mp4: lost, not done",
        "c.mp4: clip missing",
        "b.mp4: clip too many",
        ".a.mp4.0123abcd.partial: left behind",
    ]
