"""A worker process that outlives a job: it keeps its model, and can be stopped in the middle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from animate.batch.clips import ClipMaker
from animate.batch.executor import Handler, Listen, Outcome, Send, Start, Task
from animate.batch.local import LocalExecutor
from animate.batch.tasks import ClipReport, ClipTask, Relay
from animate.studio.tasks import PoseTask

_GLANCE_SECONDS = 0.2
"""Time between two looks at whether the job is to stop."""


class StoppedError(Exception):
    """The job in hand was stopped on request; its worker is gone, its unfinished work is not."""


class HeldWorker:
    """A `JobExecutor` of one local process that is not ended with each batch."""

    name = "local"
    workers = 1

    def __init__(self, start: Start, on_message: Callable[[Any], None]) -> None:
        """`start` makes the handler of every task; `on_message` gets what a task sends."""
        self._inner = LocalExecutor(1)
        self._start, self._on_message = start, on_message
        self._listen: Listen | None = None
        self._stop = threading.Event()
        self._busy = False

    def open(self, start: Start, listen: Listen) -> None:
        """See `JobExecutor`; the handler is this worker's own, for it lives on."""
        self._listen = listen
        self._inner.open(self._start, self._receive)

    def submit(self, task: Task) -> None:
        """See `JobExecutor`."""
        self._busy = True
        self._inner.submit(task)

    def wait(self, timeout: float | None = None) -> Outcome | None:
        """See `JobExecutor`. Raises StoppedError where `stop` was called."""
        until = None if timeout is None else time.monotonic() + timeout
        while self._busy:
            if self._stop.is_set():
                self.end()
                raise StoppedError
            outcome = self._inner.wait(_GLANCE_SECONDS)
            if outcome is not None:
                self._busy = False
                return outcome
            if until is not None and time.monotonic() >= until:
                return None
        return None

    def close(self) -> None:
        """Keep the process for the next batch; see `end`."""
        self._listen = None

    def allow(self) -> None:
        """Forget an earlier `stop`, before the next job."""
        self._stop.clear()

    def stop(self) -> None:
        """Let `wait` end the process and raise; from any thread."""
        self._stop.set()

    def end(self) -> None:
        """End the process; the next task starts another one."""
        self._busy = False
        self._inner.close()

    def _receive(self, number: int, message: Any) -> None:
        self._on_message(message)
        if self._listen is not None:
            self._listen(number, message)


def start_clips(worker: int) -> Handler:
    """The handler of clips, in the worker."""
    return WatchedMaker(worker)


class WatchedMaker:
    """Makes clips as a batch does, and sends pictures of what they are coming to."""

    def __init__(self, worker: int) -> None:
        self._maker = ClipMaker(worker)

    def __call__(self, payload: ClipTask, send: Send) -> ClipReport:
        """See `ClipMaker`."""
        return self._maker(replace(payload, previews=True), send)

    def close(self) -> None:
        """See `Handler`."""
        self._maker.close()


def start_poses(worker: int) -> Handler:
    """The handler of poses, in the worker."""
    return PoseMaker()


class PoseMaker:
    """Estimates the poses of videos; an estimator is opened once."""

    def __call__(self, payload: PoseTask, send: Send) -> Path:
        """Write the pose file of a video, whole, and return its path."""
        from animate.driving.estimators import estimator_options
        from animate.driving.tools import extract_file, write_poses
        from animate.media import FrameSelection
        from pose.estimators import load_estimator

        options = estimator_options(payload.estimator, None, "cpu")
        estimator = load_estimator(payload.estimator, **options)
        poses = extract_file(payload.video, FrameSelection(), estimator, Relay(send))
        write_poses(poses, payload.output)
        return payload.output

    def close(self) -> None:
        """See `Handler`."""
