"""Many clips: what is missing is made, what fails is recorded, and nothing stops the others.

Several batches may share an output folder: a clip that another process makes is waited for, and
taken as kept when it is done.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from animate.batch.accounts import Item, copy_clip, failed, foreign
from animate.batch.executor import JobExecutor, Outcome, Task
from animate.batch.executors import make_executor
from animate.batch.failures import Failure, failure_of
from animate.batch.jobs import Job, sorted_jobs
from animate.batch.keys import Keys
from animate.batch.kinds import kind_of, products_of, start_makers
from animate.batch.manifest import Manifest, jobs_of, load_manifest
from animate.batch.outputs import LocalOutputs, Outputs
from animate.batch.paths import record_path
from animate.batch.records import JobRecord, Request, as_kept, read_record
from animate.batch.staging import JobFiles, remote_key
from animate.batch.tasks import ClipReport, ClipTask
from animate.batch.watch import Watch
from animate.clip.fingerprint import Fingerprint
from animate.errors import ExecutorError, RequestError
from animate.progress import Progress, Quiet
from animate.request.request import AnimationRequest

RETRIES = 2
_LONGEST_PAUSE = 30.0


def run_batch(
    requests: Iterable[Request] | Manifest | Path | str,
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
    """Make many clips and stills; gives a record of each as soon as it is made, kept or has failed.

    `requests` are requests of clips and of stills, a manifest's file (its clips go to
    `output_dir`), or a `Manifest` from `load_manifest`. What an earlier run has made stays if
    nothing that decides it has changed; `overwrite` makes everything again. A clip that is there
    without a record of this kind is somebody else's, and its job fails unless `overwrite` is set.

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
        self._running: dict[int, Item] = {}
        self._later: list[Item] = []
        self._clips: dict[str, Path] = {}
        """Clips that are there, by the digest of their key."""
        self._twins: dict[str, list[Item]] = {}
        self._bad_starts = 0
        self._watch, self._outputs = watch, outputs

    def run(self, jobs: list[Job]) -> Iterator[JobRecord]:
        """Records as they come; closing the iterator ends the workers."""
        waiting = iter(sorted_jobs(jobs))
        with self._watch.batch(len(jobs)):
            try:
                self._executor.open(start_makers, self._watch.receive)
                for record in self._records(waiting):
                    self._watch.finished(record)
                    yield record
            finally:
                self._executor.close()

    def _records(self, waiting: Iterator[Job]) -> Iterator[JobRecord]:
        left = True
        while left or self._later or self._running:
            while left and self._has_room():
                job = next(waiting, None)
                left = job is not None
                if job is not None:
                    yield from self._begin(job)
            yield from self._try_again()
            if self._running or self._later:
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
        request: Request = replace(job.request, overwrite=True)
        key, products = self._key(request, job.files), products_of(request)
        overwrite = self._overwrite or job.request.overwrite
        try:
            plan = self._outputs.plan(products, key, overwrite=overwrite)
        except Exception as error:  # of a store
            yield self._failed(job, failure_of(error))
            return
        item = Item(job=job, request=request, products=products, key=key, plan=plan)
        yield from self._follow(item)

    def _follow(self, item: Item) -> Iterator[JobRecord]:
        """Do what is planned for a job."""
        key, earlier = item.key, item.plan.earlier
        if earlier is not None and key is not None:
            self._clips[key.digest] = item.products.output
            yield as_kept(earlier, item.record("kept"))
            for twin in self._twins.pop(key.digest, ()):
                yield self._copied(twin, earlier)
        elif item.plan.foreign is not None:
            yield self._failed(item.job, foreign(item.plan.foreign), item)
            if twin_to_make := self._next_twin(item):
                yield from self._submit(twin_to_make)
        elif key is not None and self._has_twin(key, item):
            if key.digest in self._clips:
                yield self._copied(item)
            else:
                self._twins.setdefault(key.digest, []).append(item)
        else:
            yield from self._submit(item)

    def _key(self, request: Request, files: JobFiles | None) -> Fingerprint | None:
        """None where the job cannot work: its worker will say why."""
        try:
            if files is not None and isinstance(request, AnimationRequest):
                return remote_key(request, files)
            return kind_of(request).key(request, self._keys)
        except Exception:
            return None

    def _has_twin(self, key: Fingerprint, item: Item) -> bool:
        if not (self._outputs.copies and item.may_be_copied):
            return False
        ahead = (*self._running.values(), *self._later)
        return key.digest in self._clips or any(
            each.key is not None and each.key.digest == key.digest for each in ahead
        )

    def _submit(self, first: Item) -> Iterator[JobRecord]:
        """Give a job to a worker; where its folder cannot be written its record, and the next of
        its twins goes instead."""
        item: Item | None = first
        while item is not None:
            job, output = item.job, item.products.output
            try:
                output.parent.mkdir(parents=True, exist_ok=True)
                self._outputs.write(item.record("running"))
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
                anew=self._overwrite or (job.request is not None and job.request.overwrite),
            )
            self._executor.submit(Task(number=job.number, payload=payload))
            return

    def _try_again(self) -> Iterator[JobRecord]:
        """Attempts whose time has come; after a lack of memory with nobody beside it."""
        for item in list(self._later):
            ready = time.monotonic() >= item.not_before
            if ready and self._has_room() and not (item.alone and self._running):
                self._later.remove(item)
                if item.waits:  # the other process may have made it by now
                    item.key = item.key or self._key(item.request, item.job.files)
                    request = item.job.request or item.request
                    item.plan = self._outputs.plan(
                        item.products, item.key, overwrite=request.overwrite
                    )
                    yield from self._follow(item)
                else:
                    yield from self._submit(item)

    def _pause(self) -> float | None:
        """Seconds to wait for outcomes: until a retry's time has come."""
        if not self._later or not self._has_room():
            return None
        pause = max(0.01, min(item.not_before for item in self._later) - time.monotonic())
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
            self._later.append(self._next_attempt(item, failure))
            self._watch.retried(item.job.number, item.job.label, failure, item.attempt)
            return
        yield self._failed(item.job, failure, item, report, outcome.worker)
        if twin := self._next_twin(item):
            yield from self._submit(twin)

    def _wait_for_other(self, item: Item, failure: Failure) -> None:
        """Look again later at a clip that another process makes, as often as it takes."""
        if not item.waits:
            self._watch.note(f"{item.job.label}: {failure.message}; waiting for it")
        pause = min(_LONGEST_PAUSE, 2.0**item.waits)
        self._later.append(replace(item, waits=item.waits + 1, not_before=time.monotonic() + pause))

    def _next_twin(self, item: Item) -> Item | None:
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

    def _next_attempt(self, item: Item, failure: Failure) -> Item:
        pause = min(_LONGEST_PAUSE, 2.0 ** (item.attempt - 1)) if failure.kind == "io" else 0.0
        return replace(
            item,
            attempt=item.attempt + 1,
            not_before=time.monotonic() + pause,
            # A worker that dies was most often killed for want of memory.
            alone=failure.kind in ("out-of-memory", "worker-died"),
        )

    def _done(self, item: Item, report: ClipReport, worker: str) -> Iterator[JobRecord]:
        key = item.key or self._key(item.request, item.job.files)
        item = replace(item, key=key)
        try:
            marks = report.clip or self._outputs.state(item.products.output)
            record = replace(item.done(report, worker), clip=marks)
            self._outputs.write(record)
        except Exception as error:
            yield self._failed(item.job, failure_of(error), item, report, worker)
        else:
            yield record
        if key is not None:  # the clip is there, even where its record is not
            self._clips[key.digest] = item.products.output
            for twin in self._twins.pop(key.digest, ()):
                yield self._copied(twin, record)

    def _copied(self, item: Item, source_record: JobRecord | None = None) -> JobRecord:
        """Copy a clip of the same key; `source_record` is its record, by default the file's."""
        assert item.key is not None
        source, output = self._clips[item.key.digest], item.products.output
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            copy_clip(source, item.request)
            earlier = source_record or read_record(record_path(source))
            record = replace(item.copied(source, earlier), clip=self._outputs.state(output))
            self._outputs.write(record)
        except Exception as error:
            return self._failed(item.job, failure_of(error), item)
        return record

    def _failed(
        self,
        job: Job,
        failure: Failure,
        item: Item | None = None,
        report: ClipReport | None = None,
        worker: str = "",
    ) -> JobRecord:
        record = failed(job, failure, item, report, worker)
        try:
            if item is not None and item.plan.foreign is None:
                # An older clip of this job stays, and stays known for the batch's own.
                record = replace(record, clip=self._outputs.state(item.products.output))
            self._outputs.write(record)
        except Exception as error:  # a full disk: the caller still learns of it
            self._watch.warn(str(error))
        return record
