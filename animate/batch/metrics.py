"""Counts of a batch as an OpenMetrics text file, for whoever watches a farm.

The file is replaced as a whole at most once a second, so a collector (such as the node exporter's
textfile collector) never reads half of it.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from animate.batch.records import JobRecord
from animate.errors import MediaError
from animate.files import check_output, write_text

_INTERVAL = 1.0
"""Seconds between two writings, but for the last."""


class Metrics:
    """Counts jobs, failures, retries, frames and seconds of stages, and writes them to a file."""

    def __init__(self, path: Path) -> None:
        """Raises MediaError where the file cannot be written."""
        check_output(path, overwrite=True, role="metrics file", error=MediaError)
        self._path = path
        self._written = 0.0
        self._total = 0
        self._running = 0
        self._retries = 0
        self._frames = 0
        self._peak = 0
        self._ended: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._seconds: Counter[str] = Counter()
        self.fault = ""
        """The reason why the file was last not written, such as a full disk."""

    def begin(self, jobs: int) -> None:
        """A batch of so many jobs begins."""
        self._total = jobs
        self.write()

    def started(self) -> None:
        """A job has gone to a worker."""
        self._running += 1
        self._write_sometimes()

    def retried(self) -> None:
        """A job's attempt has failed, and another one follows."""
        self._running -= 1
        self._retries += 1
        self._write_sometimes()

    def finished(self, record: JobRecord, *, was_running: bool) -> None:
        """A job has ended."""
        self._running -= was_running
        self._ended[record.status] += 1
        if record.error_kind is not None:
            self._failures[record.error_kind] += 1
        if record.status == "done":
            self._frames += record.frames or 0
            self._seconds.update(record.seconds)
        self._peak = max(self._peak, record.peak_host_bytes or 0)
        self._write_sometimes()

    def text(self) -> str:
        """The file's content (OpenMetrics 1.0)."""
        waiting = max(0, self._total - self._running - sum(self._ended.values()))
        states = {
            "waiting": waiting,
            "running": self._running,
            **{status: self._ended[status] for status in ("done", "kept", "failed")},
        }
        lines = _family("jobs", "gauge", "jobs of the batch by their state")
        lines += [f'cnx_batch_jobs{{state="{k}"}} {v}' for k, v in states.items()]
        lines += _family("failures", "counter", "failed jobs by the kind of failure")
        lines += [f'cnx_batch_failures_total{{kind="{k}"}} {v}' for k, v in self._failures.items()]
        lines += _family("retries", "counter", "attempts that failed and were followed by others")
        lines.append(f"cnx_batch_retries_total {self._retries}")
        lines += _family("frames", "counter", "frames of clips that this run has made")
        lines.append(f"cnx_batch_frames_total {self._frames}")
        lines += _family("stage_seconds", "counter", "seconds of clips' stages", unit="seconds")
        lines += [
            f'cnx_batch_stage_seconds_total{{stage="{_escaped(k)}"}} {v:.6g}'
            for k, v in self._seconds.items()
        ]
        lines += _family("peak_bytes", "gauge", "largest memory of a worker", unit="bytes")
        lines.append(f"cnx_batch_peak_bytes {self._peak}")
        return "\n".join([*lines, "# EOF", ""])

    def write(self) -> None:
        """Replace the file; a full disk is remembered in `fault`, and stops nothing."""
        self._written = time.monotonic()
        try:
            write_text(self._path, self.text())
            self.fault = ""
        except OSError as reason:
            self.fault = f"the metrics file {self._path} cannot be written: {reason.strerror}"

    def _write_sometimes(self) -> None:
        if time.monotonic() - self._written >= _INTERVAL:
            self.write()


def _family(name: str, kind: str, help_text: str, unit: str = "") -> list[str]:
    """The lines that describe one family of metrics."""
    lines = [f"# TYPE cnx_batch_{name} {kind}"]
    lines += [f"# UNIT cnx_batch_{name} {unit}"] if unit else []
    return [*lines, f"# HELP cnx_batch_{name} {help_text}"]


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
