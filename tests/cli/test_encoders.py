"""`cnx encoders`: what is listed works, and what does not says why."""

from __future__ import annotations

import json
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from animate.cli.encoders import rows
from animate.cli.main import main
from animate.errors import RequestError
from animate.media import open_video, open_writer, trials
from animate.media.codecs import CODECS, other_hardware, why_not
from tests.media.clips import number_picture


def test_it_lists_every_codec_with_its_state(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encoders"]) == 0
    said = capsys.readouterr()
    shown = said.out + said.err
    for name in (*CODECS, "png", "png16"):
        assert f"\n{name} " in shown
    assert ".mp4*" in shown


def test_what_is_said_to_work_writes_a_clip(tmp_path: Path) -> None:
    for row in rows():
        if row["works"] == "yes":
            suffix = row["files"].split()[0].rstrip("*")
            path = tmp_path / row["codec"] / (suffix if "%" in suffix else f"clip{suffix}")
            path.parent.mkdir()
            with open_writer(path, size=(64, 64), fps=Fraction(10), codec=row["codec"]) as writer:
                for number in range(3):
                    writer.write(number_picture(number, (64, 64)))
            if row["codec"] != "webp":  # the library writes moving WebP but cannot read it
                assert open_video(path).info.frames == 3
        else:
            assert row["works"].startswith("no: ")
            assert len(row["works"]) > 8


def test_hardware_that_is_not_there_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = next((name for name in CODECS if why_not(name)), None)
    if name is None:  # every encoder works here
        name = "ffv1"
        reasons = {name: "no such hardware"}
        monkeypatch.setattr("animate.media.codecs.why_not", lambda codec: reasons.get(codec, ""))
    with pytest.raises(RequestError, match=r"does not work on this machine \(.+\); these do: h264"):
        open_writer(tmp_path / "x.mkv", size=(64, 64), fps=Fraction(10), codec=name)


def test_hardware_is_tried_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's log, which threads that decode could then wait for, stays switched off here,
    and nothing of the current folder is taken for a module there."""
    (tmp_path / "json.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    levels = set()
    started = subprocess.run

    def run(*arguments: Any, **named: Any) -> Any:
        levels.add(av.logging.get_level())
        return started(*arguments, **named)

    trials.reasons.cache_clear()
    monkeypatch.setattr("subprocess.run", run)
    found = trials.reasons()
    assert set(found) == {name for name, codec in CODECS.items() if codec.hardware}
    assert "its trial ended without an answer" not in found.values()
    assert levels == {None}
    assert av.logging.get_level() is None


def test_a_trial_that_ends_the_process_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    said = b'noise\nh264_nvenc: "no card"\nh264_qsv: ""\nh264_amf: "cu'
    monkeypatch.setattr(
        "subprocess.run", lambda command, **_: subprocess.CompletedProcess(command, -11, said)
    )
    trials.reasons.cache_clear()
    try:
        found = trials.reasons()
    finally:
        trials.reasons.cache_clear()
    assert (found["h264_nvenc"], found["h264_qsv"]) == ("no card", "")
    assert found["h264_amf"] == found["h265_nvenc"] == "its trial ended without an answer"


def test_a_library_without_the_encoder_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("av.codecs_available", {"libx264"})
    why_not.cache_clear()
    try:
        assert "no libx265" in why_not("h265")
        assert why_not("h264") == ""
        assert other_hardware() == ()
    finally:
        why_not.cache_clear()


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encoders", "--progress", "json"]) == 0
    said = capsys.readouterr()
    events = [json.loads(line) for line in (said.out or said.err).splitlines()]
    assert {event["codec"] for event in events} >= {"h264", "ffv1", "h264_nvenc"}
