"""Counts of a batch as OpenMetrics text, whole at any moment."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from animate import AnimationRequest
from animate.batch.metrics import Metrics
from animate.errors import MediaError, RequestError
from animate.progress import Quiet, Remembering
from tests.batch.scripted import fails, run

_LINE = re.compile(r'cnx_batch_\w+(\{\w+="[^"\n]*"\})? [\d.e+-]+')


def values(path: Path) -> dict[str, float]:
    """The samples of a file whose form is checked."""
    lines = path.read_text().splitlines()
    assert lines[-1] == "# EOF"
    samples = [line for line in lines if not line.startswith("#")]
    assert all(_LINE.fullmatch(line) for line in samples), samples
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in samples}


def test_every_job_is_counted_once(requests: list[AnimationRequest], tmp_path: Path) -> None:
    path = tmp_path / "batch.prom"
    run(requests[:1])
    run(requests, fails(RequestError("no"), seed=2), metrics_file=path)
    counts = values(path)
    assert counts['cnx_batch_jobs{state="done"}'] == 2
    assert counts['cnx_batch_jobs{state="kept"}'] == 1
    assert counts['cnx_batch_jobs{state="failed"}'] == 1
    assert counts['cnx_batch_jobs{state="running"}'] == 0
    assert counts['cnx_batch_jobs{state="waiting"}'] == 0
    assert counts['cnx_batch_failures_total{kind="request"}'] == 1
    assert counts["cnx_batch_frames_total"] == 12
    assert counts['cnx_batch_stage_seconds_total{stage="load"}'] == pytest.approx(0.2)


def test_attempts_that_are_tried_again_are_counted(
    requests: list[AnimationRequest], tmp_path: Path
) -> None:
    path = tmp_path / "batch.prom"
    run(requests[:1], fails(MemoryError("full"), times=1), metrics_file=path)
    counts = values(path)
    assert counts["cnx_batch_retries_total"] == 1
    assert counts['cnx_batch_jobs{state="running"}'] == 0
    assert counts['cnx_batch_jobs{state="done"}'] == 1


def test_a_full_disk_stops_nothing_and_is_said(
    requests: list[AnimationRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: object, text: str) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("animate.batch.metrics.write_text", full)
    progress = Remembering(Quiet())
    records = run(requests, metrics_file=tmp_path / "batch.prom", progress=progress)
    assert {record.status for record in records.values()} == {"done"}
    assert [w for w in progress.warnings if "No space left" in w]


def test_a_file_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="metrics file"):
        Metrics(tmp_path / "missing" / "batch.prom")
