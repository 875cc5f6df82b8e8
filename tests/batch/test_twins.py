"""The same clip under several names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from animate import AnimationRequest
from animate.batch.records import JobRecord
from animate.errors import MediaError
from tests.batch.scripted import Scripted, fails, request, run, statuses


def test_the_same_clip_under_two_names_is_made_once(
    requests: list[AnimationRequest], tmp_path: Path
) -> None:
    twin = request(tmp_path, "twin.mp4", seed=0)
    by = Scripted(workers=2)
    records = run([requests[0], twin, requests[1]], by=by)
    assert statuses(records) == ["done"] * 3
    assert len(by.seen) == 2
    assert records[2].copied_from == str(requests[0].output)
    assert twin.output.read_bytes() == requests[0].output.read_bytes()
    sidecar = json.loads(twin.output.with_suffix(".json").read_text())
    assert sidecar["request"]["output"] == twin.output.name
    assert sidecar["copied_from"] == requests[0].output.name
    assert statuses(run([requests[0], twin])) == ["kept", "kept"]
    # Also when the first was made by an earlier run.
    third = request(tmp_path, "third.mp4", seed=0)
    assert run([requests[0], third])[2].copied_from


def test_twins_of_a_failed_job_are_tried_one_by_one(
    requests: list[AnimationRequest], tmp_path: Path
) -> None:
    twins = [request(tmp_path, f"twin{number}.mp4", seed=0) for number in range(2)]
    by = Scripted(fails(MediaError("no video")), workers=2)
    records = run([requests[0], *twins], by=by)
    assert statuses(records) == ["failed", "failed", "failed"]
    # What was wrong may have been the place of the first alone.
    by = Scripted(fails(MediaError("no room there"), times=1), workers=2)
    records = run([requests[0], *twins], by=by)
    assert statuses(records) == ["failed", "done", "done"]
    assert records[3].copied_from == str(twins[0].output)


def test_twins_of_a_job_without_a_record_are_copied(
    requests: list[AnimationRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twins = [request(tmp_path, f"twin{number}.mp4", seed=0) for number in range(2)]
    write = JobRecord.write

    def full(record: JobRecord) -> None:
        if record.number == 1 and record.status == "done":
            raise OSError(28, "No space left on device")
        write(record)

    monkeypatch.setattr(JobRecord, "write", full)
    # The second is asked for while the first is made, the third when that has failed already.
    by = Scripted(workers=2)
    records = run([requests[0], twins[0], requests[1], twins[1]], by=by)
    assert statuses(records) == ["failed", "done", "done", "done"]
    assert len(by.seen) == 2
    for number in (2, 4):
        record = records[number]
        assert record.copied_from == str(requests[0].output)
        assert (record.error_kind, record.error) == (None, "")
    assert records[2].frames == 6
    monkeypatch.undo()
    assert statuses(run(twins)) == ["kept", "kept"]


def test_any_number_of_twins_without_a_folder_fail_and_are_counted(
    requests: list[AnimationRequest], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    lost = [request(tmp_path, f"file/{number}.mp4", seed=0) for number in range(600)]
    by = Scripted(fails(MediaError("no room there"), times=1), workers=2)
    records = run([requests[0], *lost], by=by)
    assert statuses(records) == ["failed"] * 601
