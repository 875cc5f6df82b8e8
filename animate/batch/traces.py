"""Traces of a batch for OpenTelemetry: a span for the batch, each attempt at a job, each stage.

They go to the address that is given (OTLP over HTTP), and to none otherwise. Spans name a job, its
clip and the failure's kind; no path, setting or credential is in them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from animate.batch.records import JobRecord
from animate.errors import ExecutorError, RequestError

if TYPE_CHECKING:
    from animate.batch.tasks import StageMessage

EXTRA = "pip install 'cnx-animate[traces]'"
_SERVICE = "cnx-animate"
_PATH = "/v1/traces"
_SECONDS = 10.0
"""Time that one sending may take, and all that is left at the end."""
_NANO = 1_000_000_000


class Traces:
    """Spans of one batch, sent while it runs. A collector that fails stops nothing."""

    def __init__(self, url: str) -> None:
        """
        url: of the collector, such as http://localhost:4318

        Raises RequestError for another address, ExecutorError where the extra is not installed.
        """
        self._url = _endpoint(url)
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ModuleNotFoundError as missing:
            raise ExecutorError(f"--traces needs {missing.name}; install it: {EXTRA}") from missing
        self._exporter = _Remembering(OTLPSpanExporter(endpoint=self._url, timeout=_SECONDS))
        self._provider = TracerProvider(
            resource=Resource({"service.name": _SERVICE}), shutdown_on_exit=False
        )
        exporter: Any = self._exporter
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(_SERVICE)
        self._batch: Any = None
        self._jobs: dict[int, _Job] = {}

    @property
    def fault(self) -> str:
        """The sentence that says that spans were lost; empty if none was."""
        lost = self._exporter.lost
        return f"{lost} spans of the trace could not be sent to {self._url}" if lost else ""

    def begin(self, jobs: int) -> None:
        """A batch of so many jobs begins."""
        self._batch = self._tracer.start_span("batch", attributes={"cnx.jobs": jobs})

    def started(self, number: int, label: str, attempt: int) -> None:
        """A job has gone to a worker."""
        attributes = {"cnx.job": number, "cnx.label": label, "cnx.attempt": attempt}
        self._jobs[number] = _Job(self._span("job", self._batch, attributes=attributes))

    def receive(self, number: int, message: StageMessage) -> None:
        """Take a worker's word on a stage of a job."""
        job = self._jobs.get(number)
        if job is None or message.event in ("advance", "skip"):
            return
        job.end_stage()
        if message.event == "begin":
            attributes = {} if message.steps is None else {"cnx.steps": message.steps}
            job.stage = self._span(message.stage, job.span, attributes=attributes)
            job.was_told = True

    def retried(self, number: int, error: str) -> None:
        """A job's attempt has failed, and another one follows."""
        self._end(number, error)

    def finished(self, record: JobRecord) -> None:
        """A job has ended."""
        job = self._jobs.get(record.number)
        if job is None:
            return
        if not job.was_told:
            self._add_stages(job, record.seconds)
        attributes = {
            "cnx.status": record.status,
            "cnx.model": record.model,
            "cnx.size": record.size,
            "cnx.worker": record.worker,
            "cnx.clip": record.output.name if record.output else "",
        }
        job.span.set_attributes(attributes)
        if record.frames is not None:
            job.span.set_attribute("cnx.frames", record.frames)
        if record.error_kind is not None:
            job.span.set_attribute("cnx.failure", record.error_kind)
        self._end(record.number, record.error_kind or "")

    def end(self) -> None:
        """End what is open, and send what is left."""
        for number in list(self._jobs):
            self._end(number, "interrupted")
        if self._batch is not None:
            self._batch.end()
        self._provider.shutdown()

    def _span(self, name: str, parent: Any, **options: Any) -> Any:
        from opentelemetry.trace import set_span_in_context

        context = None if parent is None else set_span_in_context(parent)
        return self._tracer.start_span(name, context=context, **options)

    def _add_stages(self, job: _Job, seconds: Any) -> None:
        """Spans of stages that a worker reports at the end alone, one after another."""
        moment = time.time_ns() - int(sum(seconds.values()) * _NANO)
        for name, length in seconds.items():
            span = self._span(name, job.span, start_time=moment)
            moment += int(length * _NANO)
            span.end(end_time=moment)

    def _end(self, number: int, error: str) -> None:
        from opentelemetry.trace import StatusCode

        job = self._jobs.pop(number, None)
        if job is None:
            return
        job.end_stage()
        if error:
            job.span.set_status(StatusCode.ERROR, error)
        job.span.end()


class _Job:
    """A job's open span, and that of its stage."""

    def __init__(self, span: Any) -> None:
        self.span = span
        self.stage: Any = None
        self.was_told = False
        """True once the worker has named a stage."""

    def end_stage(self) -> None:
        if self.stage is not None:
            self.stage.end()
            self.stage = None


class _Remembering:
    """An exporter that counts the spans that it could not send."""

    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter
        self.lost = 0

    def export(self, spans: Sequence[Any]) -> Any:
        from opentelemetry.sdk.trace.export import SpanExportResult

        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self.lost += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return bool(self._exporter.force_flush(timeout_millis))


def _endpoint(url: str) -> str:
    """The address that spans are sent to. Raises RequestError for one that is none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise RequestError(
            f"--traces {url.rpartition('@')[2]} is not the address of a collector, such as "
            "http://localhost:4318 (headers by OTEL_EXPORTER_OTLP_HEADERS)"
        )
    return url if parts.path.rstrip("/") else url.rstrip("/") + _PATH
