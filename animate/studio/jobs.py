"""A worker process that does the jobs of a queue one after another, beside the page's requests."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from animate.batch.executor import Start
from animate.batch.tasks import CourseMessage, StageMessage
from animate.studio.tasks import Pace
from animate.studio.worker import HeldWorker


class JobQueue(Protocol):
    """Jobs, each known by the file that it becomes or is recorded in."""

    def next_job(self) -> Path | None:
        """The job to do next; None where none waits. Called while `JobProcess.news` is held."""

    def do(self, job: Path, worker: HeldWorker) -> None:
        """Do a job and keep its outcome; whatever goes wrong is part of that."""

    def receive(self, message: Any) -> None:
        """Take a worker's message that is not about a stage."""

    def changed(self) -> None:
        """Let everybody know that something is to be seen."""


class JobProcess:
    """The process of a queue, and the thread that gives it jobs."""

    def __init__(self, name: str, start: Start, queue: JobQueue, *, idle_seconds: float) -> None:
        """
        start: makes the handler of every job, in the process
        idle_seconds: time after which an idle process gives back its memory
        """
        self.news = threading.Condition()
        """Held around every change of the queue; notified when a job has come."""
        self.running: Path | None = None
        self.closing = False
        self._queue, self._idle_seconds = queue, idle_seconds
        self._worker = HeldWorker(start, self._receive)
        self._pace = Pace()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Begin with what waits."""
        self._thread.start()

    def close(self) -> None:
        """Stop at once."""
        with self.news:
            self.closing = True
            self.news.notify_all()
        self._worker.stop()
        self._thread.join()
        self._worker.end()

    def pace(self, job: Path) -> Pace | None:
        """The position of a job; None where it does not run."""
        with self.news:
            return replace(self._pace) if job == self.running else None

    def stop(self, job: Path) -> bool:
        """Stop a job if it runs; False where it does not. `news` must be held."""
        if job != self.running:
            return False
        self._worker.stop()
        return True

    def _work(self) -> None:
        while (job := self._next()) is not None:
            self._queue.changed()
            self._queue.do(job, self._worker)
            with self.news:
                self.running = None
            self._queue.changed()

    def _next(self) -> Path | None:
        """The next job, when there is one; None at the end."""
        with self.news:
            while not self.closing:
                job = self._queue.next_job()
                if job is not None:
                    self.running, self._pace = job, Pace(stage="begin")
                    self._worker.allow()
                    return job
                if not self.news.wait(self._idle_seconds):
                    self._worker.end()
            return None

    def _receive(self, message: Any) -> None:
        if isinstance(message, StageMessage | CourseMessage):
            with self.news:
                self._pace.take(message)
            self._queue.changed()
        else:
            self._queue.receive(message)
