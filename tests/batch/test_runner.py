"""Runs over jobs: their order, mistakes in rows, and their end; no model is loaded here."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from animate import AnimationRequest
from animate.batch.executor import Outcome
from animate.batch.failures import Failure, failure_of
from animate.batch.records import JobRecord
from animate.batch.runner import run_batch
from animate.errors import ExecutorError, MediaError, RequestError
from tests.batch.scripted import Scripted, request, run, statuses


def test_jobs_come_sorted_by_what_is_loaded(tmp_path: Path, requests: list[Any]) -> None:
    (tmp_path / "other.mp4").write_bytes(b"other")
    sizes = ["64x64", "32x32", "64x64", "32x32"]
    videos = ["dance.mp4", "other.mp4", "other.mp4", "dance.mp4"]
    mixed = [
        request(tmp_path, f"{n}.mp4", seed=n, size=size, driving=tmp_path / video)
        for n, (size, video) in enumerate(zip(sizes, videos, strict=True))
    ]
    by = Scripted()
    run(mixed, by=by)
    assert [seen.sampling.seed for seen in by.seen] == [3, 1, 0, 2]


def test_rows_with_mistakes_are_recorded_and_forgotten_once_corrected(tmp_path: Path) -> None:
    from animate.batch.manifest import load_manifest

    (tmp_path / "me.png").write_bytes(b"picture")
    (tmp_path / "dance.mp4").write_bytes(b"video")
    row = {"reference": "me.png", "driving": "dance.mp4", "model": "tiny", "size": "64x64"}
    path = tmp_path / "jobs.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "stepz": 1, "output": "b.mp4"}))
    manifest = load_manifest(path, tmp_path / "out", keep_going=True)
    records = run(manifest)
    assert statuses(records) == ["done", "failed"]
    assert records[2].error_kind == "request"
    assert "did you mean 'steps'" in records[2].error
    lost = tmp_path / "out" / ".row-00002.lost"
    assert lost.is_file()
    path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "steps": 1, "output": "b.mp4"}))
    assert statuses(run(load_manifest(path, tmp_path / "out"))) == ["kept", "done"]
    assert not lost.exists()


@pytest.mark.parametrize(
    "name", ["row-{row:05}.mp4", ".row-{row:05}.mp4", ".row-{row:05}.lost.mp4"]
)
def test_clips_that_are_named_by_their_row_are_kept(
    requests: list[AnimationRequest], tmp_path: Path, name: str
) -> None:
    from animate.batch.manifest import load_manifest

    path = tmp_path / "jobs.jsonl"
    row = {"reference": "me.png", "driving": "dance.mp4", "model": "tiny", "size": "64x64"}
    path.write_text("".join(json.dumps({**row, "seed": seed}) + "\n" for seed in range(2)))
    assert statuses(run(load_manifest(path, tmp_path / "out", name=name))) == ["done", "done"]
    assert statuses(run(load_manifest(path, tmp_path / "out", name=name))) == ["kept", "kept"]


def test_an_executor_without_workers_gives_up(requests: list[AnimationRequest]) -> None:
    class Lame(Scripted):
        def wait(self, timeout: float | None = None) -> Outcome | None:
            task = self._tasks.popleft()
            failure = Failure(kind="worker-start", message="no python", passing=True)
            return Outcome(number=task.number, failure=failure)

    lame = Lame()
    with pytest.raises(ExecutorError, match="no python"):
        run(requests, by=lame)
    assert lame.closed


def test_stopping_early_ends_the_workers(requests: list[AnimationRequest]) -> None:
    by = Scripted()
    records: Iterator[JobRecord] = run_batch(requests, executor=by)
    next(records)
    records.close()  # type: ignore[attr-defined]
    assert by.closed
    assert len(by.seen) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: run_batch([]), "no requests"),
        (lambda r: run_batch([r[0], r[0]]), "request 2: output"),
        (lambda r: run_batch(["a.mp4"]), "request 1 is a str"),
        (lambda r: run_batch(r, executor="lokal"), "did you mean 'local'"),
        (lambda r: run_batch(r, jobs=0), "not at least 1"),
        (lambda r: run_batch(r, executor="serial", jobs=2), "one job at a time"),
        (lambda r: run_batch(r, retries=-1), "below 0"),
        (lambda r: run_batch("jobs.jsonl"), "output_dir"),
        (lambda r: run_batch(r, output_dir="out"), "name their outputs"),
    ],
)
def test_mistakes_are_told_before_the_first_record_is_asked_for(
    requests: list[AnimationRequest], change: Any, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        change(requests)


def test_errors_deep_in_a_chain_are_known_as_passing() -> None:
    try:
        try:
            raise OSError(errno.ETIMEDOUT, "timed out")
        except OSError as reason:
            raise MediaError("the video cannot be read") from reason
    except MediaError as error:
        failure = failure_of(error)
    assert (failure.kind, failure.passing, failure.trace) == ("io", True, "")


def test_two_requests_never_share_a_work_folder(tmp_path: Path, requests: list[Any]) -> None:
    ways = (tmp_path / "w", tmp_path / "w" / ".." / "w")
    shared = [request(tmp_path, f"{n}.mp4", work=way) for n, way in enumerate(ways)]
    with pytest.raises(RequestError, match=r"request 2: the work folder .* request 1 as well"):
        run(shared)
    without = [request(tmp_path, f"{n}.mp4", work="none") for n in range(2)]
    assert statuses(run(without)) == ["done"] * 2
