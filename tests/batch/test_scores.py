"""Clips of a batch are scored once, into their records and the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from animate.batch.manifest import load_manifest
from animate.batch.outputs import clip_state
from animate.batch.records import as_kept, read_record
from animate.batch.report import write_report
from animate.batch.scores import score_clips
from animate.cli.main import main
from animate.progress import Quiet, Remembering
from tests.batch.test_report import failed, record
from tests.evaluation.scenes import sliding, video


def test_finished_clips_are_scored_once_and_shown(tmp_path: Path) -> None:
    rows = [{"reference": "a.png", "driving": f"{n}.mp4"} for n in range(4)]
    path = tmp_path / "jobs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest = load_manifest(path, tmp_path / "out")
    good, changed, broken, lost = manifest.jobs
    (tmp_path / "out").mkdir(exist_ok=True)
    for number, job in enumerate((good, changed, broken), start=1):
        assert job.request is not None
        clip = job.request.output
        video(clip, sliding(6, 64, 48))
        if job is broken:
            clip.write_bytes(b"no clip")
        marks = clip_state(clip)
        if job is changed:
            clip.write_bytes(b"of somebody else")
        record(tmp_path, number, output=clip, record=job.record, clip=marks).write()
    failed(tmp_path, 4).write()
    progress = Remembering(Quiet())
    assert score_clips([good, changed, broken, lost], "quick", progress) == 1
    assert len(progress.warnings) == 1
    assert "not scored" in progress.warnings[0]
    scored = read_record(good.record)
    assert scored is not None
    assert scored.scored_by == "quick"
    assert 0.5 < scored.scores["flicker"] < 1
    assert as_kept(scored, scored).scores == scored.scores
    assert score_clips([good], "quick", progress) == 0  # once is enough
    page = write_report(manifest)
    assert "steadiness (255 - MAE) / 255 0.9" in page.read_text()
    figures = json.loads((page.parent / "report.json").read_text())
    assert figures["jobs"][0]["scores"]["flicker"] == scored.scores["flicker"]


def test_an_unknown_protocol_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_text('{"reference": "a.png", "driving": "b.mp4"}\n')
    command = ["batch", str(path), "--output-dir", str(tmp_path / "out"), "--evaluate", "quik"]
    assert main([*command, "--keep-going"]) == 2
    assert "did you mean" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*"))
