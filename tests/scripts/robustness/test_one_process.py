"""A short form of `python -m scripts.robustness.one_process`."""

from __future__ import annotations

import pytest

from scripts.robustness import one_process


def test_threads_and_many_clips(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--threads", "3", "--seconds", "2", "--clips", "6"]
    assert one_process.main(given) == 0, capsys.readouterr().out
    assert "3 threads made" in capsys.readouterr().out


def test_other_frames_are_a_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digests = iter(range(100))
    monkeypatch.setattr(one_process.Studio, "make", lambda *given: str(next(digests)))
    assert one_process.main(["--threads", "1", "--seconds", "0", "--clips", "1"]) == 1
    assert "clip 0 has other frames" in capsys.readouterr().out
