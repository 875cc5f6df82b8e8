"""Batches on one output folder: a clip that another process makes is waited for, and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from animate import AnimationRequest
from animate.batch import runner
from animate.batch.keys import Keys
from animate.batch.outputs import clip_state
from animate.batch.records import JobRecord
from animate.batch.tasks import ClipReport
from animate.errors import BusyError
from tests.batch.scripted import Scripted, make, request, run, statuses

Act = Callable[[AnimationRequest, int], ClipReport]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_LONGEST_PAUSE", 0.02)


def busy(output: str, times: int, at_last: Callable[[AnimationRequest], None]) -> Act:
    """An act that finds another process at work so often; then `at_last` is that one's end."""
    left = [times]

    def act(asked: AnimationRequest, count: int) -> ClipReport:
        if asked.output.name != output or not left[0]:
            return make(asked, count)
        left[0] -= 1
        if not left[0]:
            at_last(asked)
        raise BusyError("process 7 makes it")

    return act


def finished_by_another(asked: AnimationRequest) -> None:
    """Leave what another batch leaves: the clip, its sidecar and its record."""
    make(asked)
    JobRecord(
        number=1,
        label="row 1",
        status="done",
        record=asked.output.with_name(f"{asked.output.name}.job.json"),
        output=asked.output,
        key=Keys().of(replace(asked, overwrite=False)),
        clip=clip_state(asked.output),
        frames=6,
    ).write()


def test_a_clip_that_another_makes_is_waited_for_and_kept(requests: list[Any]) -> None:
    by = Scripted(busy("0.mp4", 3, finished_by_another))
    records = run(requests, by=by)
    assert statuses(records) == ["kept", "done", "done", "done"]
    assert records[1].frames == 6
    assert [asked.output.name for asked in by.seen].count("0.mp4") == 3


def test_other_jobs_go_before_one_that_is_waited_for(requests: list[Any]) -> None:
    by = Scripted(busy("0.mp4", 1, finished_by_another))
    run(requests, by=by)
    assert [asked.output.name for asked in by.seen] == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]


def test_a_clip_that_another_gave_up_is_made(requests: list[Any]) -> None:
    assert statuses(run(requests[:1], busy("0.mp4", 6, lambda asked: None))) == ["done"]


def test_twins_of_a_clip_that_another_makes_are_copied(requests: list[Any], tmp_path: Path) -> None:
    twin = request(tmp_path, "twin.mp4", seed=0)
    by = Scripted(busy("0.mp4", 2, finished_by_another), workers=2)
    records = run([requests[0], twin], by=by)
    assert statuses(records) == ["kept", "done"]
    assert records[2].copied_from == str(requests[0].output)
    assert twin.output.read_bytes() == requests[0].output.read_bytes()


def test_a_foreign_file_in_place_of_what_was_waited_for_is_left_alone(
    requests: list[Any], tmp_path: Path
) -> None:
    def put_something(asked: AnimationRequest) -> None:
        asked.output.write_text("mine")
        asked.output.with_name(f"{asked.output.name}.job.json").unlink()

    twin = request(tmp_path, "twin.mp4", seed=0)
    by = Scripted(busy("0.mp4", 1, put_something), workers=2)
    records = run([requests[0], twin], by=by)
    assert statuses(records) == ["failed", "done"]
    assert requests[0].output.read_text() == "mine"
