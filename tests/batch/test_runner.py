"""Runs over jobs: what is done, kept, tried again and recorded; no model is loaded here."""

from __future__ import annotations

import errno
import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from animate import AnimationRequest
from animate.batch.clips import ClipReport, ClipTask
from animate.batch.executor import Listen, Outcome, Start, Task, attempt
from animate.batch.failures import Failure, failure_of
from animate.batch.records import JobRecord
from animate.batch.runner import run_batch
from animate.errors import ExecutorError, MediaError, RequestError
from animate.sidecar import write_sidecar

Act = Callable[[AnimationRequest, int], ClipReport]


def make(request: AnimationRequest, count: int = 0) -> ClipReport:
    """What an animator leaves: the clip, then its sidecar."""
    request.output.write_bytes(f"clip {request.sampling.seed} {count}".encode())
    write_sidecar(request.output, {"request": request})
    return ClipReport(model="tiny", size="64x64", frames=6, fps="29", seconds={"load": 0.1})


class Scripted:
    """An executor that does what a function says, in this process, and notes what it saw."""

    name = "scripted"

    def __init__(self, act: Act = make, workers: int = 1) -> None:
        self.workers = workers
        self.seen: list[AnimationRequest] = []
        self.together: list[int] = []
        self.closed = False
        self._act = act
        self._tasks: deque[Task] = deque()

    def open(self, start: Start, listen: Listen) -> None:
        pass

    def submit(self, task: Task) -> None:
        self._tasks.append(task)
        self.together.append(len(self._tasks))

    def wait(self, timeout: float | None = None) -> Outcome | None:
        if not self._tasks:
            return None
        task = self._tasks.popleft()

        def handle(payload: ClipTask, tell: Any) -> Any:
            self.seen.append(payload.request)
            return self._act(payload.request, len(self.seen))

        outcome = attempt(handle, task, lambda message: None, "scripted 0")
        if outcome.failure and outcome.failure.message.endswith("DIED"):
            died = Failure(kind="worker-died", message="the worker died", passing=True)
            return Outcome(number=task.number, failure=died)
        return outcome

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def requests(tmp_path: Path) -> list[AnimationRequest]:
    (tmp_path / "me.png").write_bytes(b"picture")
    (tmp_path / "dance.mp4").write_bytes(b"video")
    return [request(tmp_path, f"{n}.mp4", seed=n) for n in range(4)]


def request(folder: Path, output: str, **changes: Any) -> AnimationRequest:
    values = {
        "reference": folder / "me.png",
        "driving": folder / "dance.mp4",
        "output": folder / output,
        "model": "tiny",
        "size": "64x64",
    }
    return AnimationRequest.from_dict({**values, **changes})


def run(requests: Any, act: Act = make, **options: Any) -> dict[int, JobRecord]:
    found: dict[int, JobRecord] = {}
    for record in run_batch(requests, executor=options.pop("by", Scripted(act)), **options):
        assert record.number not in found
        found[record.number] = record
    return found


def statuses(records: dict[int, JobRecord]) -> list[str]:
    return [records[number].status for number in sorted(records)]


def test_a_rerun_does_nothing_and_says_so(requests: list[AnimationRequest]) -> None:
    first = run(requests)
    assert statuses(first) == ["done"] * 4
    assert {record.why for record in first.values()} == {"new"}
    again = Scripted()
    second = run(requests, by=again)
    assert statuses(second) == ["kept"] * 4
    assert again.seen == []
    assert second[1].frames == 6
    assert second[1].request["sampling"]["seed"] == 0


def test_what_changed_is_made_again_and_named(
    requests: list[AnimationRequest], tmp_path: Path
) -> None:
    run(requests)
    changed = [
        request(tmp_path, "0.mp4", seed=0, steps=7),
        requests[1],
        request(tmp_path, "2.mp4", seed=2, quality=30),
    ]
    requests[1].output.unlink()
    records = run(changed)
    assert re.fullmatch(r"changed: steps \d+ -> 7", records[1].why)
    assert records[2].why == "its clip is gone"
    assert records[3].why == "changed: quality None -> 30"
    (tmp_path / "dance.mp4").write_bytes(b"another video")
    assert {r.why for r in run(changed).values()} == {"changed: driving"}


def test_names_places_and_threads_change_nothing(
    requests: list[AnimationRequest], tmp_path: Path
) -> None:
    run(requests[:1])
    (tmp_path / "other.png").write_bytes(b"picture")
    same = request(tmp_path, "0.mp4", seed=0, reference=tmp_path / "other.png", threads=1)
    assert run([same])[1].status == "kept"


def test_who_signs_decides_a_clip_and_with_which_key_does_not(
    requests: list[AnimationRequest], tmp_path: Path
) -> None:
    (tmp_path / "chain.pem").write_text("me")
    (tmp_path / "other.pem").write_text("somebody else")

    def signed(files: str) -> AnimationRequest:
        return request(tmp_path, "0.mp4", seed=0, sign=files.replace("@", f"{tmp_path}/"))

    run(requests[:1])
    assert run([signed("@chain.pem:@key.pem")])[1].why == "changed: certificate"
    (tmp_path / "chain.pem").rename(tmp_path / "moved.pem")
    assert run([signed("@moved.pem:@new_key.pem")])[1].status == "kept"
    assert run([signed("@other.pem:@key.pem")])[1].why == "changed: certificate"
    assert run(requests[:1])[1].why == "changed: certificate"


def test_copied_folders_are_known_by_their_content(requests: list[AnimationRequest]) -> None:
    run(requests[:1])
    clip = requests[0].output
    clip.write_bytes(clip.read_bytes())
    assert run(requests[:1])[1].status == "kept"


def test_overwrite_makes_everything_again(requests: list[AnimationRequest]) -> None:
    run(requests)
    assert statuses(run(requests, overwrite=True)) == ["done"] * 4


def test_files_of_others_are_left_alone(requests: list[AnimationRequest]) -> None:
    requests[0].output.write_text("mine")
    records = run(requests[:2])
    assert statuses(records) == ["failed", "done"]
    assert records[1].error_kind == "media"
    assert "--overwrite" in records[1].error
    assert run(requests[:1])[1].status == "failed"
    assert requests[0].output.read_text() == "mine"
    assert run(requests[:1], overwrite=True)[1].status == "done"


def test_a_clip_that_somebody_changed_is_left_alone(requests: list[AnimationRequest]) -> None:
    run(requests[:1])
    requests[0].output.write_text("edited by hand")
    assert run(requests[:1])[1].status == "failed"
    assert requests[0].output.read_text() == "edited by hand"


def test_what_a_killed_program_left_is_made_again(requests: list[AnimationRequest]) -> None:
    def killed(request: AnimationRequest, count: int) -> ClipReport:
        record = request.output.with_suffix(".job.json")
        assert json.loads(record.read_text())["status"] == "running"
        make(request)
        raise SystemExit

    with pytest.raises(SystemExit):
        run(requests[:1], killed)
    records = run(requests[:1])
    assert (records[1].status, records[1].why) == ("done", "it was interrupted")


def test_a_failure_after_a_success_keeps_the_old_clip_for_the_batchs_own(
    requests: list[AnimationRequest], tmp_path: Path
) -> None:
    run(requests[:1])
    other = request(tmp_path, "0.mp4", seed=99)
    assert run([other], fails(MediaError("full")))[1].status == "failed"
    assert requests[0].output.is_file()
    assert run([other])[1].status == "done"


def fails(error: Exception, times: int = 99, seed: int | None = None) -> Act:
    """An act that raises so often, for one seed or all."""
    left = [times]

    def act(request: AnimationRequest, count: int) -> ClipReport:
        if left[0] and seed in (None, request.sampling.seed):
            left[0] -= 1
            raise error
        return make(request)

    return act


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


def test_a_retry_for_want_of_memory_has_the_machine_for_itself(
    requests: list[AnimationRequest],
) -> None:
    by = Scripted(fails(MemoryError(), times=1, seed=0), workers=2)
    assert statuses(run(requests, by=by)) == ["done"] * 4
    assert by.seen[-1].sampling.seed == 0
    assert by.together[-1] == 1
    assert max(by.together) == 2


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
    assert sidecar["request"]["output"] == str(twin.output)
    assert sidecar["copied_from"] == str(requests[0].output)
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
