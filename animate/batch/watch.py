"""Progress of a batch, through the same protocol as a single clip's stages, and into a log file.

People see a line for each job and, while one takes long, a line on where it is. Programs and farms
that read one number get the stages within a job instead, where a single worker makes them one after
another.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from animate.batch.failures import Failure
from animate.batch.kinds import kind_named
from animate.batch.metrics import Metrics
from animate.batch.records import JobRecord
from animate.batch.tasks import CourseMessage, StageMessage
from animate.batch.traces import Traces
from animate.errors import MediaError
from animate.progress import FarmLines, JsonLines, Progress, Stage

_SILENCE_SECONDS = 15.0
"""Time between two lines on where a job is."""


@dataclass(kw_only=True)
class _Position:
    """Progress of a running job."""

    label: str
    began: float = field(default_factory=time.monotonic)
    noted_at: float = field(default_factory=time.monotonic)
    stage: str = ""
    done: int = 0
    total: int | None = None

    def describe(self) -> str:
        of = f" {self.done}/{self.total}" if self.total else ""
        return f"{self.label}: {self.stage}{of}, {time.monotonic() - self.began:.0f} s so far"


class Watch:
    """A stage of jobs, with remarks on each."""

    def __init__(
        self,
        progress: Progress,
        *,
        workers: int,
        log_file: Path | None = None,
        metrics_file: Path | None = None,
        traces: str | None = None,
    ) -> None:
        """
        traces: address of a collector of traces

        Raises MediaError when the log file or the metrics file cannot be written, RequestError or
        ExecutorError when no traces can be sent.
        """
        self._traces = Traces(traces) if traces is not None else None
        self._metrics = Metrics(metrics_file) if metrics_file is not None else None
        self._progress = progress
        self._relays = workers == 1 and isinstance(progress, (FarmLines, JsonLines))
        self._jobs: Stage | None = None
        self._inner = ExitStack()
        self._stage: Stage | None = None
        self._positions: dict[int, _Position] = {}
        self._counts: Counter[str] = Counter()
        self._log: IO[str] | None = None
        if log_file is not None:
            try:
                self._log = open(log_file, "a", encoding="utf-8", buffering=1)  # noqa: SIM115
            except OSError as reason:
                raise MediaError(
                    f"the log file {log_file} cannot be written: {reason.strerror}"
                ) from reason

    @contextmanager
    def batch(self, jobs: int) -> Iterator[None]:
        """Around all jobs."""
        self._write(f"{jobs} jobs")
        if self._metrics is not None:
            self._metrics.begin(jobs)
        if self._traces is not None:
            self._traces.begin(jobs)
        try:
            with self._progress.stage("jobs", jobs) as self._jobs, ExitStack() as self._inner:
                yield
        finally:
            counts = ", ".join(f"{count} {status}" for status, count in self._counts.items())
            self._write(f"end: {counts or 'nothing was done'}")
            self._close_metrics()
            self._close_traces()
            if self._log is not None:
                self._log.close()

    def _close_metrics(self) -> None:
        if self._metrics is not None:
            self._metrics.write()
            if self._metrics.fault:
                self.warn(self._metrics.fault)

    def _close_traces(self) -> None:
        if self._traces is not None:
            self._traces.end()
            if self._traces.fault:
                self.warn(self._traces.fault)

    def started(self, number: int, label: str, output: Path, attempt: int) -> None:
        """A job has gone to a worker."""
        self._positions[number] = _Position(label=label)
        self._write(f"{label}: begins {output}, attempt {attempt}")
        if self._metrics is not None:
            self._metrics.started()
        if self._traces is not None:
            self._traces.started(number, label, attempt)

    def receive(self, number: int, message: Any) -> None:
        """Take a worker's message (see `animate.batch.tasks.Relay`)."""
        position = self._positions.get(number)
        if isinstance(message, CourseMessage) and self._relays:
            self._progress.expect(message.course)
        if not isinstance(message, StageMessage) or position is None:
            return
        if self._traces is not None:
            self._traces.receive(number, message)
        if message.event == "begin":
            position.stage, position.done, position.total = message.stage, 0, message.steps
            self._write(f"{position.label}: {message.stage}")
        elif message.event in ("advance", "skip"):
            position.done += message.steps or 0
        if self._relays:
            self._relay(message)
        elif time.monotonic() - position.noted_at >= _SILENCE_SECONDS:
            position.noted_at = time.monotonic()
            self._progress.note(position.describe())

    def _relay(self, message: StageMessage) -> None:
        if message.event == "begin":
            self._inner.close()
            stage = self._progress.stage(message.stage, message.steps)
            self._stage = self._inner.enter_context(stage)
        elif message.event == "end":
            self._close_stage()
        elif self._stage is not None and message.steps:
            report = self._stage.skip if message.event == "skip" else self._stage.advance
            report(message.steps)

    def _close_stage(self) -> None:
        self._inner.close()
        self._stage = None

    def finished(self, record: JobRecord) -> None:
        """A job has come to its end."""
        self._close_stage()  # of a worker that died within a stage
        was_running = self._positions.pop(record.number, None) is not None
        if self._metrics is not None:
            self._metrics.finished(record, was_running=was_running)
        if self._traces is not None:
            self._traces.finished(record)
        self._counts[record.status] += 1
        if self._jobs is not None:
            made = record.status != "kept" and not record.copied_from
            (self._jobs.advance if made else self._jobs.skip)()
        text = describe(record)
        self._write(text + (f"\n{record.trace}" if record.trace else ""))
        if isinstance(self._progress, JsonLines):
            values = record.to_dict()
            for name in ("schema", "pictures", "request", "key_parts"):
                del values[name]
            self._progress.event("job", **values)
        elif record.status == "failed":
            self._progress.warn(text)
        elif record.status == "done":
            self._progress.note(text)

    def retried(self, number: int, label: str, failure: Failure, attempt: int) -> None:
        """A job will be tried again."""
        self._close_stage()
        if self._positions.pop(number, None) is not None and self._metrics is not None:
            self._metrics.retried()
        if self._traces is not None:
            self._traces.retried(number, failure.kind)
        self.warn(f"{label}: {failure.message}; attempt {attempt + 1} follows")

    def warn(self, text: str) -> None:
        """A remark that a person should act on."""
        self._write(f"warning: {text}")
        self._progress.warn(text)

    def note(self, text: str) -> None:
        """A remark that a person should see."""
        self._write(text)
        self._progress.note(text)

    def _write(self, text: str) -> None:
        if self._log is not None and not self._log.closed:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            with suppress(OSError):  # a full disk: the clips are what counts
                self._log.write(f"{now} {text}\n")


def describe(record: JobRecord) -> str:
    """A line on a job that has ended."""
    if record.status == "failed":
        return f"{record.label} failed ({record.error_kind}): {record.error}"
    name = record.output.name if record.output else record.label
    if record.status == "kept":
        return f"{record.label}: {name} is kept, {record.why}"
    if record.copied_from:
        return f"{record.label}: {name} is a copy, its inputs and settings are another's"
    tries = f", attempt {record.attempt}" if record.attempt > 1 else ""
    amount = kind_named(record.product).amount(record) or "nothing"
    size = f" of {record.size}" if record.size else ""
    why = "" if record.why == "new" else f" ({record.why})"
    return f"{record.label}: {name}, {amount}{size} in {record.wall_seconds:.1f} s{tries}{why}"
