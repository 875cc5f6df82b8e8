from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from animate.files import hidden_name
from animate.progress import (
    KINDS,
    USUAL,
    WORDS,
    Course,
    FarmLines,
    JsonLines,
    Lines,
    Remembering,
    choose_progress,
    failure_line,
)

ROOT = Path(__file__).parent.parent
PERCENTS = {"openjd": r"openjd_progress: (\d+)", "deadline": r"Progress: (\d+)%",
            "alf": r"ALF_PROGRESS (\d+)%"}  # fmt: skip


def clip(lines: FarmLines, windows: int = 4, frames: int = 8) -> None:
    """The stages of one clip."""
    for name, total in (("poses", frames), ("encode", 1), ("denoise", windows), ("decode", frames)):
        with lines.stage(name, total) as stage:
            for _ in range(total):
                stage.advance()


def percents(kind: str, out: io.StringIO) -> list[int]:
    return [int(number) for number in re.findall(rf"(?m)^{PERCENTS[kind]}$", out.getvalue())]


@pytest.mark.parametrize("kind", WORDS)
def test_a_clip_rises_from_0_to_100_in_each_farms_words(kind: str) -> None:
    out = io.StringIO()
    clip(FarmLines(kind, out, io.StringIO()))
    seen = percents(kind, out)
    assert (seen[0], seen[-1]) == (0, 100)
    assert all(a < b for a, b in pairwise(seen))
    assert 11 in seen  # encoded
    assert 90 in seen  # denoised
    spoken = [line for line in out.getvalue().splitlines() if "status" not in line]
    assert len(spoken) == len(seen), "every line is one that the farm reads"


def test_clips_within_a_batch_are_parts_of_it() -> None:
    out = io.StringIO()
    lines = FarmLines("alf", out, io.StringIO())
    halves = []
    with lines.stage("jobs", 2) as jobs:
        for _ in range(2):
            clip(lines)
            jobs.advance()
            halves.append(percents("alf", out)[-1])
    assert halves == [50, 100]
    assert 45 in percents("alf", out), "half of the batch at 90 % of the first clip"


def test_a_stage_of_unknown_length_and_an_unknown_one_never_fall_back() -> None:
    out = io.StringIO()
    lines = FarmLines("deadline", out, io.StringIO())
    clip(lines)
    with lines.stage("preview", None) as stage:
        stage.advance()
    with lines.stage("report", 5) as stage:
        stage.advance()
    assert percents("deadline", out)[-1] == 100


def test_every_stage_of_a_clip_has_a_share() -> None:
    rooms = ("clip", "driving", "finish", "generate")
    files = [file for room in rooms for file in (ROOT / "animate" / room).rglob("*.py")]
    text = "".join(file.read_text() for file in files if file.name != "tools.py")
    stages = set(re.findall(r'\.stage\("([^"]+)"|stage: str = "(poses)"', text))
    stages = {first or second for first, second in stages}
    assert {"poses", "background", "denoise"} <= stages <= set(USUAL.seconds)
    stills = re.findall(r'\.stage\("([^"]+)"', (ROOT / "animate/stills/make.py").read_text())
    assert stills
    assert not set(stills) & set(USUAL.seconds)  # pictures alone are the whole task


class Hands:
    """A clock that stands still until it is turned."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("animate.progress.sinks.time.monotonic", lambda: self.now)


SECONDS = {"poses": 4.0, "encode": 1.0, "denoise": 10.0, "decode": 8.0}
MEASURED = Course(seconds=SECONDS, measured=True)


def told(out: io.StringIO) -> list[tuple[str, int, float | None, float | None]]:
    """Stage, steps done, seconds left of the stage and of the run, of every event."""
    events = map(json.loads, out.getvalue().splitlines())
    return [(e["name"], e["done"], e["seconds_left"], e["run_seconds_left"]) for e in events]


def timed(sink: JsonLines, hands: Hands, stages: dict[str, float], steps: int = 10) -> None:
    """Stages of ten steps that take these seconds each."""
    for name, seconds in stages.items():
        with sink.stage(name, steps) as stage:
            for _ in range(steps):
                hands.now += seconds / steps
                stage.advance()


def test_a_measured_course_gives_the_time_left_from_the_first_moment_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hands, out = Hands(monkeypatch), io.StringIO()
    sink = JsonLines(out, interval=0.0)
    sink.expect(MEASURED)
    timed(sink, hands, SECONDS)
    events = told(out)
    assert events[0] == ("poses", 0, 4.0, 23.0)
    assert ("poses", 5, 2.0, 21.0) in events
    assert ("denoise", 0, 10.0, 18.0) in events
    assert ("decode", 5, 4.0, 4.0) in events
    assert events[-1] == ("decode", 10, 0.0, 0.0)


def test_a_stage_that_goes_slower_than_expected_is_believed_more_and_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hands, out = Hands(monkeypatch), io.StringIO()
    sink = JsonLines(out, interval=0.0)
    sink.expect(MEASURED)
    timed(sink, hands, {"denoise": 40.0})
    left = [seconds for _, _, seconds, _ in told(out)[:-1]]
    assert left[0] == 10.0
    truth = [40.0 * (10 - done) / 10 for done in range(11)]
    off = [abs(seen - right) for seen, right in zip(left, truth, strict=True) if seen is not None]
    assert all(a >= b for a, b in pairwise(off))
    assert off[5] < 0.15 * truth[5]


def test_where_nothing_was_measured_the_time_left_is_told_once_denoising_has_a_pace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hands, out = Hands(monkeypatch), io.StringIO()
    sink = JsonLines(out, interval=0.0)
    sink.expect(Course(seconds={"poses": 1.0, "encode": 1.0, "denoise": 10.0, "decode": 5.0}))
    timed(sink, hands, {"poses": 2.0, "encode": 1.0, "denoise": 20.0, "decode": 30.0})
    events = told(out)
    assert all(run is None for name, _, _, run in events if name in ("poses", "encode"))
    assert ("poses", 5, 1.0, None) in events
    assert ("denoise", 0, None, None) in events
    assert ("denoise", 5, 10.0, 20.0) in events  # half of 20 s, and decoding is half as long
    assert ("decode", 5, 15.0, 15.0) in events  # by its own pace


@pytest.mark.parametrize("measured", [True, False])
def test_steps_of_an_earlier_run_tell_nothing_of_the_pace(
    measured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands, out = Hands(monkeypatch), io.StringIO()
    sink = Remembering(JsonLines(out, interval=0.0))
    sink.expect(Course(seconds=SECONDS, measured=measured))
    with sink.stage("denoise", 10) as stage:
        hands.now += 100  # reading them takes time as well
        stage.skip(6)
        for _ in range(4):
            hands.now += 1
            stage.advance()
    left = {done: (stage, run) for _, done, stage, run in told(out)}
    assert left[6] == ((4.0, 12.0) if measured else (None, None))
    assert left[7] == (3.0, 11.0), "a second a frame, and decoding of 8 s"
    assert left[10] == (0.0, 8.0)
    assert sink.paces == {"denoise": 1.0}


def test_a_pace_of_a_stage_s_last_steps_alone_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    hands = Hands(monkeypatch)
    sink = Remembering(choose_progress(quiet=True))
    for earlier in (40, 39):
        with sink.stage("decode", 40) as stage:
            stage.skip(earlier)
            hands.now += 5
    assert sink.paces == {}


def test_percents_count_steps_of_an_earlier_run() -> None:
    out = io.StringIO()
    lines = FarmLines("alf", out, io.StringIO())
    lines.expect(Course(seconds={"denoise": 50.0, "decode": 50.0}))
    with lines.stage("denoise", 10) as stage:
        stage.skip(8)
        assert percents("alf", out)[-1] == 40


def test_a_stage_that_is_none_of_a_clips_tells_its_own_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hands, out = Hands(monkeypatch), io.StringIO()
    timed(JsonLines(out, interval=0.0), hands, {"fetching (MiB)": 5.0})
    assert ("fetching (MiB)", 4, 3.0, 3.0) in told(out)


def test_lines_tell_the_time_left_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    hands, out = Hands(monkeypatch), io.StringIO()
    sink = Lines(out, interval=2.0)
    sink.expect(MEASURED)
    with sink.stage("denoise", 10) as stage:
        hands.now += 5
        stage.advance(5)
    assert out.getvalue().splitlines()[0] == "denoise: 5/10, 13 s left"


def test_percents_follow_the_course(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    lines = FarmLines("alf", out, io.StringIO())
    lines.expect(Course(seconds={"poses": 30.0, "encode": 0.0, "denoise": 20.0, "decode": 50.0}))
    clip(lines)
    assert {30, 50, 100} <= set(percents("alf", out))
    assert 31 not in percents("alf", out), "four steps of denoising share 20 %"


def test_the_pace_of_finished_stages_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    hands = Hands(monkeypatch)
    heard = Remembering(choose_progress(quiet=True))
    with heard.stage("decode", 4):
        hands.now += 6
    with heard.stage("skeletons", None):
        hands.now += 6
    with pytest.raises(ValueError), heard.stage("denoise", 4):
        raise ValueError
    assert heard.paces == {"decode": 1.5}


def test_openjd_is_told_the_stage_and_why_it_failed() -> None:
    out = io.StringIO()
    clip(FarmLines("openjd", out, io.StringIO()))
    assert "openjd_status: denoise" in out.getvalue().splitlines()
    assert failure_line("openjd", "no such\nfile") == "openjd_fail: no such file"
    assert failure_line("deadline", "no such file") == ""
    assert failure_line("plain", "no such file") == ""


def test_a_failure_keeps_the_number_where_it_is() -> None:
    out = io.StringIO()
    lines = FarmLines("alf", out, io.StringIO())
    with pytest.raises(ValueError), lines.stage("denoise", 4):
        raise ValueError
    assert percents("alf", out) == [11]


def test_remarks_stay_out_of_the_farms_lines() -> None:
    out, remarks = io.StringIO(), io.StringIO()
    lines = FarmLines("openjd", out, remarks)
    lines.note("model: tiny")
    lines.warn("short sound")
    assert out.getvalue() == ""
    assert remarks.getvalue() == "model: tiny\nwarning: short sound\n"


def test_names_move_no_cursor() -> None:
    out = io.StringIO()
    Lines(out).note("removed a\x1b[2J\rb\x7f\x9b.mp4\n\tnext")
    assert out.getvalue() == "removed a\\x1b[2J\\x0db\\x7f\\x9b.mp4\n\tnext\n"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_chosen(kind: str) -> None:
    assert choose_progress(kind=kind) is not None
    assert type(choose_progress(kind=kind)) is not type(choose_progress(quiet=True, kind=kind))


@pytest.mark.parametrize("kind", ["plain", "json", "openjd"])
def test_streams_that_cannot_be_written_are_given_up_without_a_word(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stdout", "stderr"):
        full = open("/dev/full", "w")  # noqa: SIM115
        monkeypatch.setattr(sys, name, full)
        progress = choose_progress(kind=kind)
        with progress.stage("decode", 2) as stage:
            stage.advance()
        progress.note("done")
        progress.warn("again")
        full.close()  # what it still holds goes nowhere, and does not fail
        progress.note("closed")
        monkeypatch.setattr(sys, name, None)
        choose_progress().note("nobody")


@pytest.mark.parametrize("streams", ["2>&-", "2>/dev/full", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_command_whose_streams_are_closed_does_its_work(tmp_path: Path, streams: str) -> None:
    hidden_name(tmp_path / "clip.mp4").touch()
    command = f"{sys.executable} -m animate.cli.main clean {tmp_path} --yes {streams}"
    root = Path(__file__).parents[1]
    assert subprocess.run(["sh", "-c", command], cwd=root).returncode == 0
    assert not list(tmp_path.iterdir())


def test_a_mistake_is_told_by_the_exit_code_where_nobody_reads(tmp_path: Path) -> None:
    command = f"{sys.executable} -m animate.cli.main clean {tmp_path}/none 2>/dev/full"
    root = Path(__file__).parents[1]
    assert subprocess.run(["sh", "-c", command], cwd=root).returncode == 2
