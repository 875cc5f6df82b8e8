from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from animate.batch.tasks import CourseMessage, Relay, StageMessage
from animate.batch.watch import Watch
from animate.progress import Course, FarmLines
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
