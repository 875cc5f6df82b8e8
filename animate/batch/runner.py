"""Many clips: what is missing is made, what fails is recorded, and nothing stops the others.

Several batches may share an output folder: a clip that another process makes is waited for, and
taken as kept when it is done.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from animate.batch.clips import ClipReport, ClipTask, start_clips
from animate.batch.executor import JobExecutor, Outcome, Task, make_executor
from animate.batch.failures import Failure, failure_of
from animate.batch.keys import Keys
from animate.batch.manifest import Job, Manifest, jobs_of, load_manifest, sorted_jobs
from animate.batch.paths import record_path
from animate.batch.records import (
    JobRecord,
    LocalOutputs,
    Outputs,
    Plan,
    Status,
    as_kept,
    read_record,
)
from animate.batch.staging import JobFiles, remote_key
from animate.batch.watch import Watch
from animate.clip.claim import claimed, claimed_record
from animate.clip.fingerprint import Fingerprint
from animate.clip.record import SCHEMA, ClipRecord, find_record, sidecar_path
from animate.clip.shareable import Shareable
from animate.errors import ExecutorError, RequestError
from animate.files import atomic, is_sequence
from animate.progress import Progress, Quiet
from animate.request.request import AnimationRequest
from animate.request.schema import plain

RETRIES = 2
_LONGEST_PAUSE = 30.0


def run_batch(
    requests: Iterable[AnimationRequest] | Manifest | Path | str,
    *,
    output_dir: Path | str | None = None,
    executor: str | JobExecutor = "local",
    jobs: int = 1,
    overwrite: bool = False,
    retries: int = RETRIES,
    pictures: bool = True,
    progress: Progress | None = None,
    log_file: Path | None = None,
    metrics_file: Path | None = None,
    traces: str | None = None,
) -> Iterator[JobRecord]:
    """Make many clips; gives a record of each as soon as it is made, kept or has failed.

    `requests` are requests, a manifest's file (its clips go to `output_dir`), or a `Manifest` from
    `load_manifest`. What an earlier run has made stays if nothing that decides it has changed;
    `overwrite` makes everything again. A clip that is there without a record of this kind is
    somebody else's, and its job fails unless `overwrite` is set.

    `jobs` workers of the `executor` ("local": processes of this machine; "serial"; "ray"; or an
    object) keep their model from job to job; jobs come sorted by model, size and driving video,
    not in the order given. What may pass (memory, a worker's death, the network's file system) is
    tried `retries` times more. A clip with the same inputs and settings as another is made once
    and copied. A clip that another process makes is waited for. `pictures` are for `write_report`.
    `log_file` gets a line on each event, with its time, after what is in it already;
    `metrics_file` is kept with the batch's counts as OpenMetrics text; `traces` is the address of
    an OpenTelemetry collector, such as http://localhost:4318.

    Raises ManifestError, RequestError or ExecutorError before any work; ExecutorError later only
    when no worker can be started any more.
    """
    if isinstance(requests, Path | str) and output_dir is not None:
        requests = load_manifest(requests, output_dir)
        output_dir = None
    chosen = jobs_of(requests, output_dir)
    if retries < 0:
        raise RequestError(f"retries {retries} is below 0")
    engine = make_executor(executor, jobs) if isinstance(executor, str) else executor
    watch = Watch(
        progress or Quiet(),
        workers=engine.workers,
        log_file=log_file,
        metrics_file=metrics_file,
        traces=traces,
    )
    remote = requests.remote if isinstance(requests, Manifest) else None
    batch = _Batch(engine, Keys(), overwrite, retries, pictures, watch, remote or LocalOutputs())
    return batch.run(chosen)


@dataclass(kw_only=True)
class _Item:
    """A job on its way."""

    job: Job
    request: AnimationRequest
    key: Fingerprint | None
    plan: Plan
    attempt: int = 1
    not_before: float = 0.0
    """`time.monotonic` before which the next attempt does not begin."""
    alone: bool = False
    """Nothing else may run beside it."""
    waits: int = 0
    """Times that another process was found to make this clip."""
    began: float = 0.0


class _Batch:
    """One run over jobs."""

    def __init__(
        self,
        executor: JobExecutor,
        keys: Keys,
        overwrite: bool,
        retries: int,
        pictures: bool,
        watch: Watch,
        outputs: Outputs,
    ) -> None:
        self._executor, self._keys = executor, keys
        self._overwrite, self._retries, self._pictures = overwrite, retries, pictures
        self._running: dict[int, _Item] = {}
        self._again: list[_Item] = []
        self._clips: dict[str, Path] = {}
        """Clips that are there, by the digest of their key."""
        self._twins: dict[str, list[_Item]] = {}
        self._bad_starts = 0
        self._watch, self._outputs = watch, outputs

    def run(self, jobs: list[Job]) -> Iterator[JobRecord]:
        """Records as they come; closing the iterator ends the workers."""
        waiting = iter(sorted_jobs(jobs))
        with self._watch.batch(len(jobs)):
            try:
                self._executor.open(start_clips, self._watch.receive)
                for record in self._records(waiting):
                    self._watch.finished(record)
                    yield record
            finally:
                self._executor.close()

    def _records(self, waiting: Iterator[Job]) -> Iterator[JobRecord]:
        left = True
        while left or self._again or self._running:
            while left and self._has_room():
                job = next(waiting, None)
                left = job is not None
                if job is not None:
                    yield from self._begin(job)
            yield from self._try_again()
            if self._running or self._again:
                outcome = self._executor.wait(self._pause())
                if outcome is not None:
                    yield from self._end(outcome)

    def _has_room(self) -> bool:
        lonely = any(item.alone for item in self._running.values())
        return len(self._running) < self._executor.workers and not lonely

    def _begin(self, job: Job) -> Iterator[JobRecord]:
        """Give a job to a worker, or its record where there is nothing to do."""
        if job.request is None:
            yield self._failed(job, Failure(kind="request", message=job.mistake))
            return
        if job.lost is not None:
            with suppress(OSError):  # most often there is none
                job.lost.unlink()
        # What lies there is judged here, by records; the animator only writes.
        request = replace(job.request, overwrite=True)
        key = self._key(request, job.files)
        try:
            plan = self._outputs.plan(job.record, job.request, key, overwrite=self._overwrite)
        except Exception as error:  # of a store
            yield self._failed(job, failure_of(error))
            return
        yield from self._follow(_Item(job=job, request=request, key=key, plan=plan))

    def _follow(self, item: _Item) -> Iterator[JobRecord]:
        """Do what is planned for a job."""
        key, earlier = item.key, item.plan.earlier
        if earlier is not None and key is not None:
            self._clips[key.digest] = item.request.output
            yield as_kept(earlier, self._record(item, "kept"))
            for twin in self._twins.pop(key.digest, ()):
                yield self._copied(twin, earlier)
        elif item.plan.foreign:
            yield self._failed(item.job, _foreign(item.request.output), item)
            if twin_to_make := self._next_twin(item):
                yield from self._submit(twin_to_make)
        elif key is not None and self._has_twin(key, item):
            if key.digest in self._clips:
                yield self._copied(item)
            else:
                self._twins.setdefault(key.digest, []).append(item)
        else:
            yield from self._submit(item)

    def _key(self, request: AnimationRequest, files: JobFiles | None) -> Fingerprint | None:
        """None where the job cannot work: its worker will say why."""
        try:
            return self._keys.of(request) if files is None else remote_key(request, files)
        except Exception:
            return None

    def _has_twin(self, key: Fingerprint, item: _Item) -> bool:
        if not self._outputs.copies or item.request.besides() or is_sequence(item.request.output):
            return False  # more than one file: made anew
        ahead = (*self._running.values(), *self._again)
        return key.digest in self._clips or any(
            other.key is not None and other.key.digest == key.digest for other in ahead
        )

    def _submit(self, first: _Item) -> Iterator[JobRecord]:
        """Give a job to a worker; where its folder cannot be written its record, and the next of
        its twins goes instead."""
        item: _Item | None = first
        while item is not None:
            job, output = item.job, item.request.output
            try:
                output.parent.mkdir(parents=True, exist_ok=True)
                self._outputs.write(self._record(item, "running"))
            except Exception as error:
                yield self._failed(job, failure_of(error), item)
                item = self._next_twin(item)
                continue
            item.began = time.monotonic()
            self._running[job.number] = item
            self._watch.started(job.number, job.label, output, item.attempt)
            payload = ClipTask(
                request=item.request,
                digests=self._keys.digests,
                pictures=self._pictures,
                files=job.files,
            )
            self._executor.submit(Task(number=job.number, payload=payload))
            return

    def _try_again(self) -> Iterator[JobRecord]:
        """Attempts whose time has come; after a lack of memory with nobody beside it."""
        for item in list(self._again):
            ready = time.monotonic() >= item.not_before
            if ready and self._has_room() and not (item.alone and self._running):
                self._again.remove(item)
                if item.waits:  # the other process may have made it by now
                    item.key = item.key or self._key(item.request, item.job.files)
                    item.plan = self._outputs.plan(
                        item.job.record,
                        item.job.request or item.request,
                        item.key,
                        overwrite=False,
                    )
                    yield from self._follow(item)
                else:
                    yield from self._submit(item)

    def _pause(self) -> float | None:
        """Seconds to wait for outcomes: until a retry's time has come."""
        if not self._again or not self._has_room():
            return None
        pause = max(0.01, min(item.not_before for item in self._again) - time.monotonic())
        if not self._running:
            time.sleep(pause)
            return 0.0
        return pause

    def _end(self, outcome: Outcome) -> Iterator[JobRecord]:
        item = self._running.pop(outcome.number)
        report = outcome.value if isinstance(outcome.value, ClipReport) else ClipReport()
        failure = outcome.failure or report.failure
        if failure is None:
            self._bad_starts = 0
            yield from self._done(item, report, outcome.worker)
            return
        if failure.kind == "busy":
            self._wait_for_other(item, failure)
            return
        self._count_starts(failure)
        if failure.passing and item.attempt <= self._retries:
            self._again.append(self._next_attempt(item, failure))
            self._watch.retried(item.job.number, item.job.label, failure, item.attempt)
            return
        yield self._failed(item.job, failure, item, report, outcome.worker)
        if twin := self._next_twin(item):
            yield from self._submit(twin)

    def _wait_for_other(self, item: _Item, failure: Failure) -> None:
        """Look again later at a clip that another process makes, as often as it takes."""
        if not item.waits:
            self._watch.note(f"{item.job.label}: {failure.message}; waiting for it")
        pause = min(_LONGEST_PAUSE, 2.0**item.waits)
        self._again.append(replace(item, waits=item.waits + 1, not_before=time.monotonic() + pause))

    def _next_twin(self, item: _Item) -> _Item | None:
        """One that waited for this clip, to be made itself: this one's folder alone may have been
        wrong."""
        waiting = self._twins.get(item.key.digest) if item.key else None
        return waiting.pop(0) if waiting else None

    def _count_starts(self, failure: Failure) -> None:
        self._bad_starts = self._bad_starts + 1 if failure.kind == "worker-start" else 0
        if self._bad_starts > self._retries + self._executor.workers:
            raise ExecutorError(
                f"no worker of the {self._executor.name} executor can be started any more; "
                f"{failure.message}"
            )

    def _next_attempt(self, item: _Item, failure: Failure) -> _Item:
        pause = min(_LONGEST_PAUSE, 2.0 ** (item.attempt - 1)) if failure.kind == "io" else 0.0
        return replace(
            item,
            attempt=item.attempt + 1,
            not_before=time.monotonic() + pause,
            # A worker that dies was most often killed for want of memory.
            alone=failure.kind in ("out-of-memory", "worker-died"),
        )

    def _done(self, item: _Item, report: ClipReport, worker: str) -> Iterator[JobRecord]:
        key = item.key or self._key(item.request, item.job.files)
        item = replace(item, key=key)
        try:
            record = replace(
                _with_report(self._record(item, "done"), report),
                wall_seconds=round(time.monotonic() - item.began, 3),
                worker=worker,
                finished=_now(),
                clip=report.clip or self._outputs.state(item.request.output),
            )
            self._outputs.write(record)
        except Exception as error:
            yield self._failed(item.job, failure_of(error), item, report, worker)
        else:
            yield record
        if key is not None:  # the clip is there, even where its record is not
            self._clips[key.digest] = item.request.output
            for twin in self._twins.pop(key.digest, ()):
                yield self._copied(twin, record)

    def _copied(self, item: _Item, source_record: JobRecord | None = None) -> JobRecord:
        """Copy a clip of the same key; `source_record` is its record, by default the file's."""
        assert item.key is not None
        source, output = self._clips[item.key.digest], item.request.output
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            copy_clip(source, item.request)
            found = source_record or read_record(record_path(source))
            record = self._record(item, "done")
            if found is not None and found.status == "done":
                record = as_kept(found, record)
            record = replace(
                record,
                status="done",
                why=item.plan.why,
                attempt=1,
                seconds={},
                wall_seconds=0.0,
                finished=_now(),
                clip=self._outputs.state(output),
                copied_from=str(source),
            )
            self._outputs.write(record)
        except Exception as error:
            return self._failed(item.job, failure_of(error), item)
        return record

    def _failed(
        self,
        job: Job,
        failure: Failure,
        item: _Item | None = None,
        report: ClipReport | None = None,
        worker: str = "",
    ) -> JobRecord:
        blank = JobRecord(number=job.number, label=job.label, status="failed", record=job.record)
        record = self._record(item, "failed") if item else blank
        record = replace(
            _with_report(record, report) if report else record,
            error_kind=failure.kind,
            error=failure.message,
            trace=failure.trace,
            wall_seconds=round(time.monotonic() - item.began, 3) if item and item.began else 0.0,
            worker=worker,
            finished=_now(),
        )
        try:
            if item is not None and not item.plan.foreign:
                # An older clip of this job stays, and stays known for the batch's own.
                record = replace(record, clip=self._outputs.state(item.request.output))
            self._outputs.write(record)
        except Exception as error:  # a full disk: the caller still learns of it
            self._watch.warn(str(error))
        return record

    def _record(self, item: _Item, status: Status) -> JobRecord:
        return JobRecord(
            number=item.job.number,
            label=item.job.label,
            status=status,
            record=item.job.record,
            output=item.request.output,
            why=item.plan.why,
            request=_settings_of(item.job),
            key=item.key,
            attempt=item.attempt,
        )


def _settings_of(job: Job) -> Mapping[str, object]:
    """A job's settings as given, with the URLs of files in a store."""
    values: dict[str, object] = plain(job.request)
    if job.files is not None:
        urls = {**job.files.inputs, **job.files.models, **job.files.outputs}
        for name in ("reference", "driving", "poses", "model", "output"):
            if values[name]:
                values[name] = urls.get(Path(str(values[name])), values[name])
    return values


def copy_clip(source: Path, request: AnimationRequest) -> None:
    """Copy a finished clip of an equal request, and its sidecar, which then says so."""
    output = request.output
    record = ClipRecord.read(find_record(source) or sidecar_path(source))
    with claimed(output), claimed_record(output) as path:
        paths = Shareable(folder=path.parent)
        copied = replace(
            record,
            request=paths.request(request),
            clip=record.clip and replace(record.clip, name=output.name),
            copied_from=str(paths.path(source)),
            schema=SCHEMA,
        )
        with atomic(output) as partial:
            shutil.copyfile(source, partial)
        copied.write(path)


def _with_report(record: JobRecord, report: ClipReport) -> JobRecord:
    return replace(
        record,
        seconds=report.seconds,
        peak_host_bytes=report.peak_host_bytes,
        peak_device_bytes=report.peak_device_bytes,
        model=report.model,
        size=report.size,
        frames=report.frames,
        fps=report.fps,
        warnings=report.warnings,
        pictures=report.pictures,
    )


def _foreign(output: Path) -> Failure:
    message = (
        f"{output} is there already and was not made by a batch like this one; move it away, name "
        "another output, or replace it with --overwrite (overwrite=True)"
    )
    return Failure(kind="media", message=message)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
