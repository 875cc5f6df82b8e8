"""Batches in which no model is loaded: an executor that does what a function says."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from animate import AnimationRequest
from animate.batch.executor import Listen, Outcome, Start, Task, attempt
from animate.batch.failures import Failure
from animate.batch.records import JobRecord
from animate.batch.runner import run_batch
from animate.batch.tasks import ClipReport, ClipTask
from animate.clip.record import sidecar_path
from tests.clip.records import some_record

Act = Callable[[AnimationRequest, int], ClipReport]


def make(request: AnimationRequest, count: int = 0) -> ClipReport:
    """What an animator leaves: the clip, then its sidecar."""
    request.output.write_bytes(f"clip {request.sampling.seed} {count}".encode())
    some_record(request).write(sidecar_path(request.output))
    return ClipReport(model="tiny", size="64x64", frames=6, fps="29", seconds={"load": 0.1})


class Scripted:
    """An executor that does what a function says, in this process, and notes what it saw."""

    name = "scripted"

    def __init__(self, act: Act = make, workers: int = 1) -> None:
        self.workers = workers
        self.seen: list[AnimationRequest] = []
        self.together: list[int] = []
        self.closed = False
        self._act = act
        self._tasks: deque[Task] = deque()

    def open(self, start: Start, listen: Listen) -> None:
        pass

    def submit(self, task: Task) -> None:
        self._tasks.append(task)
        self.together.append(len(self._tasks))

    def wait(self, timeout: float | None = None) -> Outcome | None:
        if not self._tasks:
            return None
        task = self._tasks.popleft()

        def handle(payload: ClipTask, send: Any) -> Any:
            self.seen.append(payload.request)
            return self._act(payload.request, len(self.seen))

        outcome = attempt(handle, task, lambda message: None, "scripted 0")
        if outcome.failure and outcome.failure.message.endswith("DIED"):
            died = Failure(kind="worker-died", message="the worker died", passing=True)
            return Outcome(number=task.number, failure=died)
        return outcome

    def close(self) -> None:
        self.closed = True


def request(folder: Path, output: str, **changes: Any) -> AnimationRequest:
    values = {
        "reference": folder / "me.png",
        "driving": folder / "dance.mp4",
        "output": folder / output,
        "model": "tiny",
        "size": "64x64",
    }
    return AnimationRequest.from_dict({**values, **changes})


def run(requests: Any, act: Act = make, **options: Any) -> dict[int, JobRecord]:
    found: dict[int, JobRecord] = {}
    for record in run_batch(requests, executor=options.pop("by", Scripted(act)), **options):
        assert record.number not in found
        found[record.number] = record
    return found


def statuses(records: dict[int, JobRecord]) -> list[str]:
    return [records[number].status for number in sorted(records)]


def fails(error: Exception, times: int = 99, seed: int | None = None) -> Act:
    """An act that raises so often, for one seed or all."""
    left = [times]

    def act(request: AnimationRequest, count: int) -> ClipReport:
        if left[0] and seed in (None, request.sampling.seed):
            left[0] -= 1
            raise error
        return make(request)

    return act
