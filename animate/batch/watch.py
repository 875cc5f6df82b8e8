"""How far a batch is, told through the same protocol as a single clip's stages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from animate.batch.failures import Failure
from animate.batch.records import JobRecord
from animate.progress import FarmLines, JsonLines, Progress, Stage


class Watch:
    """A stage of jobs; with a single worker, and where programs listen, its stages within."""

    def __init__(self, progress: Progress, *, relay: bool) -> None:
        self._progress = progress
        # People see a line a job; programs that read one number want it to move within a job.
        self._relay = relay and isinstance(progress, (FarmLines, JsonLines))
        self._jobs: Stage | None = None
        self._inner = ExitStack()
        self._stage: Stage | None = None

    @contextmanager
    def batch(self, jobs: int) -> Iterator[None]:
        """Around all jobs."""
        with self._progress.stage("jobs", jobs) as self._jobs, ExitStack() as self._inner:
            yield

    def heard(self, number: int, message: Any) -> None:
        """What a worker tells (see `animate.batch.clips.Relay`)."""
        if not self._relay:
            return
        match message:
            case ("stage", name, total):
                self._inner.close()
                self._stage = self._inner.enter_context(self._progress.stage(name, total))
            case ("step", steps) if self._stage is not None:
                self._stage.advance(steps)
            case ("end", _):
                self._inner.close()
                self._stage = None

    def finished(self, record: JobRecord) -> None:
        """A job has come to its end."""
        self._inner.close()  # of a worker that died within a stage
        self._stage = None
        if self._jobs is not None:
            self._jobs.advance()
        self._tell(record)

    def retried(self, place: str, failure: Failure, attempt: int) -> None:
        """A job will be tried again."""
        self._inner.close()
        self.warn(f"{place}: {failure.message}; attempt {attempt + 1} follows")

    def warn(self, text: str) -> None:
        """Something that a person should act on."""
        self._progress.warn(text)

    def _tell(self, record: JobRecord) -> None:
        if isinstance(self._progress, JsonLines):
            values = record.to_dict()
            for name in ("schema", "pictures", "request", "key_parts"):
                del values[name]
            self._progress.event("job", **values)
        elif record.status == "failed":
            self._progress.warn(f"{record.place} failed ({record.error_kind}): {record.error}")
        elif record.status == "done":
            self._progress.note(describe(record))


def describe(record: JobRecord) -> str:
    """A line on a finished job."""
    name = record.output.name if record.output else record.place
    if record.copied_from:
        return f"{record.place}: {name} is a copy, its inputs and settings are another's"
    tries = f", attempt {record.attempt}" if record.attempt > 1 else ""
    why = "" if record.why == "new" else f" ({record.why})"
    return (
        f"{record.place}: {name}, {record.frames} frames of {record.size} in "
        f"{record.wall_seconds:.1f} s{tries}{why}"
    )
