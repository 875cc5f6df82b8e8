"""Records of a batch's jobs as they go: begun, made, copied from a twin, failed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from animate.batch.failures import Failure
from animate.batch.jobs import Job
from animate.batch.kinds import kind_of
from animate.batch.outputs import Plan
from animate.batch.records import JobOutcome, JobRecord, Products, Request, Status, as_kept
from animate.batch.tasks import ClipReport
from animate.clip.claim import claimed, claimed_record
from animate.clip.fingerprint import Fingerprint
from animate.clip.record import SCHEMA, ClipRecord, find_record, sidecar_path
from animate.clip.shareable import Shareable
from animate.errors import InternalError
from animate.files import atomic, is_sequence
from animate.request.request import AnimationRequest
from animate.request.schema import plain


@dataclass(kw_only=True)
class Item:
    """A job on its way."""

    job: Job
    request: Request
    products: Products
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

    @property
    def may_be_copied(self) -> bool:
        """True for a single file, which a copy makes whole."""
        alone = not self.products.besides and not is_sequence(self.products.output)
        return alone and kind_of(self.request).copies

    def record(self, status: Status) -> JobRecord:
        """The job's record at this moment."""
        return JobRecord(
            number=self.job.number,
            label=self.job.label,
            status=status,
            record=self.products.record,
            product=kind_of(self.request).name,
            output=self.products.output,
            why=self.plan.why,
            request=stated_settings(self.job),
            key=self.key,
            attempt=self.attempt,
        )

    def done(self, report: ClipReport, worker: str) -> JobRecord:
        """The record of a job that was made; its clip's marks are not in it yet."""
        return replace(
            with_report(self.record("done"), report),
            wall_seconds=self.seconds,
            worker=worker,
            finished=now(),
        )

    def copied(self, source: Path, source_record: JobRecord | None) -> JobRecord:
        """The record of a job whose clip was copied; its clip's marks are not in it yet."""
        record = self.record("done")
        if source_record is not None and source_record.status == "done":
            record = as_kept(source_record, record)
        return replace(
            record,
            status="done",
            why=self.plan.why,
            attempt=1,
            seconds={},
            wall_seconds=0.0,
            finished=now(),
            copied_from=str(source),
        )

    @property
    def seconds(self) -> float:
        """Wall time of this attempt."""
        return round(time.monotonic() - self.began, 3) if self.began else 0.0


def failed(
    job: Job,
    failure: Failure,
    item: Item | None = None,
    report: ClipReport | None = None,
    worker: str = "",
) -> JobRecord:
    """The record of a job that failed; `item` where it could be tried."""
    blank = JobRecord(number=job.number, label=job.label, status="failed", record=job.record)
    record = item.record("failed") if item else blank
    return replace(
        with_report(record, report) if report else record,
        error_kind=failure.kind,
        error=failure.message,
        trace=failure.trace,
        wall_seconds=item.seconds if item else 0.0,
        worker=worker,
        finished=now(),
    )


def foreign(output: Path) -> Failure:
    """The failure of a job whose place is taken by a file that is not the batch's."""
    message = (
        f"{output} is there already and was not made by a batch like this one; move it away, name "
        "another output, or replace it with --overwrite (overwrite=True)"
    )
    return Failure(kind="media", message=message)


def with_report(record: JobRecord, report: ClipReport) -> JobRecord:
    """A record with the outcome that a worker has reported."""
    return replace(record, **{item.name: getattr(report, item.name) for item in fields(JobOutcome)})


def stated_settings(job: Job) -> Mapping[str, object]:
    """A job's settings as given, with the URLs of files in a store."""
    values: dict[str, object] = plain(job.request)
    if job.files is not None:
        urls = {**job.files.inputs, **job.files.models, **job.files.outputs}
        for name in ("reference", "driving", "poses", "model", "output"):
            if values[name]:
                values[name] = urls.get(Path(str(values[name])), values[name])
    return values


def copy_clip(source: Path, request: Request) -> None:
    """Copy a finished clip of an equal request, and its sidecar, which then says so."""
    if not isinstance(request, AnimationRequest):
        raise InternalError("stills are not copied")
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


def now() -> str:
    """The time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
