"""A short form of `python -m scripts.robustness.same_frames`."""

from __future__ import annotations

import pytest

from scripts.robustness import same_frames

SHORT = ["--runs", "2", "--threads", "2", "--neighbours", "1", "--frames", "2", "--steps", "2"]


@pytest.mark.slow  # runs of a whole clip beside a busy processor
def test_fresh_and_cached_poses_beside_a_neighbour(capsys: pytest.CaptureFixture[str]) -> None:
    assert same_frames.main(SHORT) == 0, capsys.readouterr().out
    assert "2 runs: 2 with 2 thread(s)" in capsys.readouterr().out


@pytest.mark.slow  # runs of a whole clip beside a busy processor
def test_the_first_stage_that_differs_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    equal = {"poses": "a", "latents": "b", "frames": "c"}
    rows = iter([[equal, {"poses": "a", "latents": "B", "frames": "C"}]])
    monkeypatch.setattr(same_frames, "in_a_process", lambda *given: next(rows))
    monkeypatch.setattr(same_frames, "make_demo", lambda folder: None)
    assert same_frames.main(SHORT) == 1
    assert "FAULT: 2 threads: latents differs (1 times)" in capsys.readouterr().out
