"""The faults that `scripts/robustness/neighbours.py` looks for, and one round of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.robustness import neighbours


@pytest.mark.slow
def test_neighbours_end_right() -> None:
    assert neighbours.main(["--rounds", "2", "--latest", "3"]) == 0


def test_wrong_codes_missing_clips_and_leftovers_are_faults(tmp_path: Path) -> None:
    (tmp_path / ".0.mp4.work").mkdir()
    faults = neighbours.batch_faults((0, 3), tmp_path)
    assert faults[0] == "a batch ended with 3"
    assert sum(fault.endswith("is not done") for fault in faults) == neighbours.CLIPS
    assert faults[-1] == "left behind: .0.mp4.work"
    assert neighbours.run_faults((2, 2), tmp_path)[0] == "the runs ended with (2, 2)"


def test_a_record_of_another_clip_is_a_fault(tmp_path: Path) -> None:
    from animate.clip.record import ClipFile, sidecar_path
    from animate.files import sha256
    from tests.batch.scripted import request
    from tests.clip.records import some_record

    asked = request(tmp_path, "0.mp4")
    asked.output.write_bytes(b"one")
    file = ClipFile.of(asked.output, {"0.mp4": sha256(asked.output)}, 3)
    some_record(asked, clip=file).write(sidecar_path(asked.output))
    assert neighbours.clip_faults(asked.output) == []
    asked.output.write_bytes(b"two")
    assert neighbours.clip_faults(asked.output) == ["the record is not that of 0.mp4"]
