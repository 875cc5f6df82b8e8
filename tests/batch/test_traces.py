"""Traces of a batch, as a collector on the loopback address gets them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra [traces]")

from animate import AnimationRequest
from animate.batch import traces
from animate.batch.records import JobRecord
from animate.batch.tasks import StageMessage
from animate.batch.traces import Traces
from animate.errors import ExecutorError, RequestError
from animate.progress import Quiet, Remembering
from tests.batch.scripted import fails, run


class Collector:
    """Spans that came, by their names."""

    def __init__(self) -> None:
        collector = self
        self.spans: list[Any] = []
        self.status = 200

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
                    ExportTraceServiceRequest,
                )

                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    import gzip

                    body = gzip.decompress(body)
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans += scope.spans
                self.send_response(collector.status)
                self.end_headers()

            def log_message(self, *words: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


def values(span: Any) -> dict[str, Any]:
    kinds = ("string_value", "int_value")
    return {
        item.key: next(getattr(item.value, k) for k in kinds if item.value.HasField(k))
        for item in span.attributes
    }


def test_each_job_and_stage_is_a_span_below_the_batch(
    requests: list[AnimationRequest], collector: Collector
) -> None:
    run(requests, fails(RequestError("a secret word"), seed=2), traces=collector.url)
    [batch] = collector.named("batch")
    jobs = collector.named("job")
    assert values(batch) == {"cnx.jobs": len(requests)}
    assert {span.parent_span_id for span in jobs} == {batch.span_id}
    assert len({span.trace_id for span in collector.spans}) == 1
    by_status = sorted(values(span)["cnx.status"] for span in jobs)
    assert by_status == ["done"] * (len(requests) - 1) + ["failed"]
    [failed] = [span for span in jobs if values(span)["cnx.status"] == "failed"]
    assert values(failed)["cnx.failure"] == "request"
    assert failed.status.code == 2
    stages = [span for span in collector.spans if span.parent_span_id in {s.span_id for s in jobs}]
    assert "load" in {span.name for span in stages}
    assert b"a secret word" not in b"".join(s.SerializeToString() for s in collector.spans)


def test_stages_that_a_worker_reports_are_timed_as_they_come(collector: Collector) -> None:
    sent = Traces(collector.url)
    sent.begin(1)
    sent.started(1, "row 1", 1)
    for event, steps in (("begin", 4), ("advance", 1), ("end", None)):
        sent.receive(1, StageMessage(event=event, stage="denoise", steps=steps))  # type: ignore[arg-type]
    sent.retried(1, "memory")
    sent.started(1, "row 1", 2)
    sent.receive(1, StageMessage(event="begin", stage="decode"))
    sent.end()
    first, second = collector.named("job")
    [denoise], [decode] = collector.named("denoise"), collector.named("decode")
    assert denoise.parent_span_id == first.span_id
    assert decode.parent_span_id == second.span_id
    assert first.start_time_unix_nano <= denoise.start_time_unix_nano
    assert denoise.end_time_unix_nano <= first.end_time_unix_nano
    assert values(denoise) == {"cnx.steps": 4}
    assert (first.status.message, second.status.message) == ("memory", "interrupted")


def test_a_collector_that_refuses_stops_nothing_and_is_said(
    requests: list[AnimationRequest], collector: Collector
) -> None:
    collector.status = 400
    progress = Remembering(Quiet())
    records: dict[Any, JobRecord] = run(requests, traces=collector.url, progress=progress)
    assert {record.status for record in records.values()} == {"done"}
    assert [w for w in progress.warnings if "could not be sent to http://127.0.0.1" in w]


@pytest.mark.parametrize("url", ["localhost:4318", "file:///tmp/x", "http://", "http://a:b@host"])
def test_what_is_no_address_of_a_collector_is_refused(url: str) -> None:
    with pytest.raises(RequestError, match="is not the address of a collector") as caught:
        Traces(url)
    assert "a:b" not in str(caught.value)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    name = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ExecutorError, match=r"cnx-animate\[traces\]"):
        Traces("http://localhost:4318")
    assert traces.EXTRA.endswith("[traces]'")
