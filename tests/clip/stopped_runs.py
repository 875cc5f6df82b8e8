"""Runs that are interrupted where a test says, and the frames of one that was not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from animate import AnimationRequest, AnimationResult, Animator
from animate.progress import Quiet


class Listener(Quiet):
    """Counts what is done, in frames; interrupts after `stop` of a stage."""

    def __init__(self, stop: tuple[str, int] | None = None) -> None:
        self.done: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        """Those among them that an earlier run had done."""
        self.warnings: list[str] = []
        self.notes: list[str] = []
        self._stop, self._name = stop, ""

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Listener]:
        self._name = name
        yield self

    def advance(self, steps: int = 1) -> None:
        self.done[self._name] += steps
        if self._stop and self._stop[0] == self._name and self.done[self._name] >= self._stop[1]:
            raise KeyboardInterrupt

    def skip(self, steps: int = 1) -> None:
        self.skipped[self._name] += steps
        self.advance(steps)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def run(
    animator: Animator, values: dict[str, Any], listener: Listener | None = None
) -> AnimationResult:
    return animator(AnimationRequest.from_dict(values), progress=listener)


def stopped(animator: Animator, values: dict[str, Any], stage: str, after: int) -> Path:
    """The work folder of a run that was interrupted after so many frames of a stage."""
    with pytest.raises(KeyboardInterrupt) as stop:
        run(animator, values, Listener((stage, after)))
    work = values["output"].parent / ".clip.mp4.work"
    assert f"cnx resume {work}" in "".join(stop.value.__notes__)
    assert [file.name for file in values["output"].parent.iterdir()] == [work.name]
    return work


def digest_of(values: dict[str, Any]) -> str:
    folder = values["output"].parent
    assert sorted(file.name for file in folder.iterdir()) == ["clip.json", "clip.mp4"]
    return str(json.loads((folder / "clip.json").read_text())["output"]["frames_sha256"])


def uninterrupted(animator: Animator, values: dict[str, Any]) -> str:
    run(animator, {**values, "work": "none"})
    digest = digest_of(values)
    for file in values["output"].parent.iterdir():
        file.unlink()
    return digest
