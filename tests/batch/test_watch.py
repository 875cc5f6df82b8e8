from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from animate.batch.records import JobRecord
from animate.batch.tasks import CourseMessage, Relay, StageMessage
from animate.batch.watch import Watch
from animate.progress import Course, FarmLines, JsonLines
from animate.studio.tasks import Pace

COURSE = Course(seconds={"poses": 30.0, "denoise": 20.0, "decode": 50.0}, measured=True)


def test_the_course_of_a_job_reaches_a_farm_that_is_told_one_number(tmp_path: Path) -> None:
    out = io.StringIO()
    watch = Watch(FarmLines("alf", out, io.StringIO()), workers=1)
    with watch.batch(2):
        watch.started(1, "row 1", tmp_path / "clip.mp4", 1)
        relay = Relay(lambda message: watch.receive(1, message), interval=0.0)
        relay.expect(COURSE)
        with relay.stage("poses", 1) as stage:
            stage.advance()
        assert out.getvalue().splitlines()[-1] == "ALF_PROGRESS 15%"  # 30 % of the first of two


def test_what_an_earlier_run_has_done_reaches_whoever_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, out = [100.0], io.StringIO()
    for module in ("progress.sinks", "studio.tasks", "batch.tasks"):
        monkeypatch.setattr(f"animate.{module}.time.monotonic", lambda: now[0])
    watch, pace = Watch(JsonLines(out, interval=0.0), workers=1), Pace()

    def send(message: Any) -> None:
        watch.receive(1, message)
        pace.take(message)

    with watch.batch(2):
        watch.started(1, "row 1", tmp_path / "clip.mp4", 1)
        relay = Relay(send, interval=0.0)
        relay.expect(COURSE)
        with relay.stage("denoise", 10) as stage:
            stage.skip(5)
            assert (pace.part, pace.seconds_left) == (0.4, 60.0)
            now[0] += 4
            stage.advance(4)
            assert pace.seconds_left == pytest.approx(51.2, abs=0.3)  # about a second a step
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    shown = {e["done"]: e["run_seconds_left"] for e in events if e.get("name") == "denoise"}
    assert (shown[5], shown[9]) == (60.0, pytest.approx(51.2, abs=0.3))


def test_clips_that_are_kept_tell_nothing_of_the_pace_of_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, out = [100.0], io.StringIO()
    monkeypatch.setattr("animate.progress.sinks.time.monotonic", lambda: now[0])
    watch = Watch(JsonLines(out, interval=0.0), workers=1)
    kept = JobRecord(
        number=1, label="row", status="kept", record=tmp_path / "r.json", output=tmp_path / "c.mp4"
    )
    with watch.batch(10):
        for number in range(1, 10):
            now[0] += 0.01 if number < 9 else 30.0
            watch.finished(replace(kept, status="kept" if number < 9 else "done"))
    jobs = [e for e in map(json.loads, out.getvalue().splitlines()) if e.get("name") == "jobs"]
    assert [e["seconds_left"] for e in jobs if e["done"] in (8, 9)][:2] == [None, 30.0]


def test_a_page_tells_the_time_left_by_the_course(monkeypatch: Any) -> None:
    now = [100.0]
    monkeypatch.setattr("animate.studio.tasks.time.monotonic", lambda: now[0])
    pace = Pace()
    pace.take(CourseMessage(course=COURSE))
    pace.take(StageMessage(event="begin", stage="denoise", steps=10))
    assert (pace.part, pace.seconds_left) == (0.3, 70.0)
    now[0] += 10
    pace.take(StageMessage(event="advance", stage="denoise", steps=5))
    assert (pace.part, pace.seconds_left) == (0.4, 60.0)


def test_a_page_says_nothing_of_the_time_left_where_nothing_is_known(monkeypatch: Any) -> None:
    now = [100.0]
    monkeypatch.setattr("animate.studio.tasks.time.monotonic", lambda: now[0])
    pace = Pace()
    pace.take(StageMessage(event="begin", stage="poses", steps=10))
    now[0] += 10
    pace.take(StageMessage(event="advance", stage="poses", steps=5))
    assert pace.seconds_left is None
    pace.take(StageMessage(event="begin", stage="denoise", steps=10))
    pace.take(StageMessage(event="advance", stage="denoise", steps=5))
    assert pace.seconds_left is None, "too early"
    now[0] += 10
    assert pace.seconds_left is not None
