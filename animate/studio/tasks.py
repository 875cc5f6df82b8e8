"""Work that pages ask for, as it waits, runs and ends; plain values that travel to workers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from animate.batch.tasks import CourseMessage, StageMessage
from animate.progress import USUAL, Course, Position

Status = Literal["waiting", "running", "stopped", "done", "failed"]
_STEADY_SECONDS = 2.0
"""Time that a stage runs before anything is said of the time left, where nothing was measured."""


@dataclass(frozen=True, kw_only=True)
class PoseTask:
    """Poses to estimate, as they travel to a worker."""

    video: Path
    output: Path
    estimator: str


@dataclass(kw_only=True)
class Pace:
    """The position of a running job: its stage, its part of the work, its time left."""

    stage: str = ""
    done: int = 0
    total: int | None = None
    skipped: int = 0
    """Steps among those done that an earlier run has finished."""
    course: Course = USUAL
    began: float = field(default_factory=time.monotonic)
    """Moment at which the stage's own steps began."""

    def take(self, message: StageMessage | CourseMessage) -> None:
        """Follow a worker's message."""
        if isinstance(message, CourseMessage):
            self.course = message.course
        elif message.event == "begin":
            self.stage, self.done, self.total = message.stage, 0, message.steps
            self.skipped, self.began = 0, time.monotonic()
        elif message.event == "advance":
            self.done += message.steps or 0
        elif message.event == "skip":
            self.done += message.steps or 0
            self.skipped, self.began = self.skipped + (message.steps or 0), time.monotonic()

    @property
    def part(self) -> float:
        """Part of the clip's work that is done, in [0,1]."""
        first, last = self.course.share(self.stage) or (0.0, 0.0)
        return first + (last - first) * (self.done / self.total if self.total else 0.0)

    @property
    def seconds_left(self) -> float | None:
        """Seconds left of the clip; None while nobody can know."""
        elapsed = time.monotonic() - self.began
        if elapsed < _STEADY_SECONDS and not self.course.measured:
            return None
        return self.course.left(
            Position(
                stage=self.stage,
                done=self.done,
                total=self.total,
                skipped=self.skipped,
                elapsed=elapsed,
            )
        )
