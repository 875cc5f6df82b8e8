"""Short forms of `python -m scripts.robustness.same_frames`."""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import pytest

from animate.media import open_writer, write_png
from scripts.robustness import same_frames
from scripts.tiny.characters import render_clip

SHORT = ["--runs", "2", "--threads", "2", "--neighbours", "1", "--frames", "2", "--steps", "2"]


def small_pair(folder: Path) -> None:
    take = render_clip(5, 2, (96, 144), shot="full")
    write_png(folder / "reference.png", take.reference)
    with open_writer(folder / "driving.mp4", size=(96, 144), fps=Fraction(12)) as writer:
        for frame in take.frames:
            writer.write(frame)


def made_here(
    folder: Path, threads: int, numbers: range, options: argparse.Namespace, fill: int
) -> list[same_frames.Digests]:
    """The clips, made by this process: another takes ten seconds of processor time to begin."""
    return list(same_frames.clips(folder, numbers, options.frames, options.steps))


def test_fresh_and_cached_poses_give_the_same_frames_beside_a_neighbour(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(same_frames, "make_demo", small_pair)
    monkeypatch.setattr(same_frames, "in_a_process", made_here)
    assert same_frames.main(SHORT) == 0, capsys.readouterr().out
    assert "2 runs: 2 with 2 thread(s)" in capsys.readouterr().out


@pytest.mark.slow  # two processes that load everything, with two threads each
def test_new_processes_give_the_same_frames_beside_a_neighbour(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert same_frames.main([*SHORT, "--per-process", "1"]) == 0, capsys.readouterr().out


def test_the_first_stage_that_differs_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    equal = {"poses": "a", "latents": "b", "frames": "c"}
    rows = iter([[equal, {"poses": "a", "latents": "B", "frames": "C"}]])
    monkeypatch.setattr(same_frames, "in_a_process", lambda *arguments, fill: next(rows))
    monkeypatch.setattr(same_frames, "make_demo", lambda folder: None)
    assert same_frames.main(SHORT) == 1
    assert "FAULT: 2 threads: latents differs (1 times)" in capsys.readouterr().out
