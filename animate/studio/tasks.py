"""Work that pages ask for, as it waits, runs and ends; plain values that travel to workers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from animate.batch.tasks import StageMessage
from animate.progress import SHARES

Status = Literal["waiting", "running", "stopped", "done", "failed"]
_STEADY_SECONDS = 2.0
"""Time that a job runs before anything is said of the time left."""


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
    began: float = field(default_factory=time.monotonic)
    _first: float | None = None
    """Part of the work that was done when this run began to compute: a resumed one starts later."""
    _from: float = 0.0

    def take(self, message: StageMessage) -> None:
        """Follow a worker's message."""
        if message.event == "begin":
            self.stage, self.done, self.total = message.stage, 0, message.steps
        elif message.event == "advance":
            self.done += message.steps or 0
        if self.stage in SHARES and self._first is None and self.done:
            self._first, self._from = self.part, time.monotonic()

    @property
    def part(self) -> float:
        """Part of the clip's work that is done, in [0,1]."""
        first, last = SHARES.get(self.stage, (0.0, 0.0))
        return first + (last - first) * (self.done / self.total if self.total else 0.0)

    @property
    def seconds_left(self) -> float | None:
        """Seconds at the present pace; None while nobody can know."""
        if self._first is None or self.part <= self._first:
            return None
        elapsed = time.monotonic() - self._from
        if elapsed < _STEADY_SECONDS:
            return None
        return elapsed / (self.part - self._first) * (1 - self.part)
