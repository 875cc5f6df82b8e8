"""Jobs that fail: who is stopped, and what is tried again."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from animate import AnimationRequest
from animate.batch.failures import failure_of
from animate.batch.manifest import load_manifest
from animate.errors import (
    BusyError,
    ExecutorError,
    InternalError,
    ManifestError,
    MediaError,
    ModelError,
    RequestError,
    TrainingError,
    WorkError,
)
from pose.errors import PoseError
from temporal.errors import MemoryBudgetError, TemporalError
from tests.batch.scripted import Scripted, fails, run, statuses


def test_one_bad_job_stops_nobody(requests: list[AnimationRequest]) -> None:
    records = run(requests, fails(MediaError("no video"), seed=1))
    assert statuses(records) == ["done", "failed", "done", "done"]
    assert (records[2].error_kind, records[2].error) == ("media", "no video")
    assert records[2].attempt == 1
    kept = json.loads(records[2].record.read_text())
    assert (kept["status"], kept["error_kind"]) == ("failed", "media")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "out-of-memory"),
        (OSError(errno.ESTALE, "stale file handle"), "io"),
        (RuntimeError("DIED"), "worker-died"),
    ],
)
def test_what_may_pass_is_tried_again(
    requests: list[AnimationRequest], error: Exception, kind: str
) -> None:
    records = run(requests, fails(error, times=1, seed=2))
    assert statuses(records) == ["done"] * 4
    assert records[3].attempt == 2
    # In the end it is given up, and the others are done all the same.
    records = run(requests, fails(error, seed=2), overwrite=True, retries=1)
    assert statuses(records) == ["done", "done", "failed", "done"]
    assert (records[3].attempt, records[3].error_kind) == (2, kind)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RequestError("size"), "request"),
        (OSError(errno.ENOSPC, "no space left"), "io"),
        (ZeroDivisionError(), "fault"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(
    requests: list[AnimationRequest], error: Exception, kind: str
) -> None:
    record = run(requests[:1], fails(error, times=1))[1]
    assert (record.status, record.attempt, record.error_kind) == ("failed", 1, kind)


@pytest.mark.parametrize(
    ("error", "kind", "passing"),
    [
        (MemoryBudgetError("nothing runs within 1 GiB"), "memory", False),
        (TemporalError("an overlap of 4 never gets past a window of 4"), "windows", False),
        (PoseError("nobody"), "pose", False),
        (ModelError("damaged"), "model", False),
        (WorkError("of another run"), "work", False),
        (BusyError("process 7 makes it"), "busy", True),
        (ExecutorError("no worker"), "workers", False),
        (TrainingError("no recipe"), "request", False),
        (InternalError("a promise"), "fault", False),
    ],
)
def test_kinds_are_the_true_ones(error: Exception, kind: str, passing: bool) -> None:
    failure = failure_of(error)
    assert (failure.kind, failure.passing) == (kind, passing)
    assert bool(failure.trace) == (kind == "fault")


def test_a_retry_for_want_of_memory_has_the_machine_for_itself(
    requests: list[AnimationRequest],
) -> None:
    by = Scripted(fails(MemoryError(), times=1, seed=0), workers=2)
    assert statuses(run(requests, by=by)) == ["done"] * 4
    assert by.seen[-1].sampling.seed == 0
    assert by.together[-1] == 1
    assert max(by.together) == 2


def test_a_row_of_several_jobs_is_one_row_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    rows = [
        {"driving": "b.mp4", "reference": "a.png"},
        {"driving": "b.mp4", "reference": ["a.png", "b.png", "c.png"], "output": "same.mp4"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ManifestError, match="1 of 2 rows cannot be used"):
        load_manifest(path, tmp_path / "out")
