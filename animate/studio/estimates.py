"""The queue of pose estimates, in a worker process of its own: poses need not wait for clips."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from animate.batch.clips import StageMessage
from animate.batch.executor import Task
from animate.errors import RequestError
from animate.studio.project import Project
from animate.studio.tasks import Pace, PoseTask, Status
from animate.studio.worker import HeldWorker, StoppedError, start_poses

_IDLE_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class EstimateView:
    """An estimate, as pages show it."""

    video: str
    poses: str
    """Name of the pose file that it becomes."""
    status: Status
    done: int
    total: int | None
    error: str


@dataclass(frozen=True, kw_only=True)
class _Estimate:
    task: PoseTask
    status: Status = "waiting"
    error: str = ""


class EstimateQueue:
    """Estimates poses of videos, one after another."""

    def __init__(self, project: Project, on_change: Callable[[], None]) -> None:
        self._project, self._on_change = project, on_change
        self._worker = HeldWorker(start_poses, self._receive)
        self._news = threading.Condition()
        self._estimates: dict[Path, _Estimate] = {}
        self._running: Path | None = None
        self._pace = Pace()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="poses", daemon=True)

    def start(self) -> None:
        """Begin to wait for videos."""
        self._thread.start()

    def close(self) -> None:
        """Stop at once; nothing half-written stays."""
        with self._news:
            self._closing = True
            self._news.notify_all()
        self._worker.stop()
        self._thread.join()
        self._worker.end()

    def views(self) -> list[EstimateView]:
        """Estimates that wait, run, or have ended since the start."""
        with self._news:
            return [
                EstimateView(
                    video=self._project.name(estimate.task.video),
                    poses=self._project.name(path),
                    status=estimate.status,
                    done=self._pace.done if path == self._running else 0,
                    total=self._pace.total if path == self._running else None,
                    error=estimate.error,
                )
                for path, estimate in self._estimates.items()
            ]

    def submit(self, video: Path, estimator: str) -> Path:
        """Queue a video; the path of its pose file. One that waits or runs already stays so."""
        output = video.with_suffix(".npz")
        with self._news:
            known = self._estimates.get(output)
            if known is None or known.status not in ("waiting", "running"):
                task = PoseTask(video=video, output=output, estimator=estimator)
                self._estimates[output] = _Estimate(task=task)
                self._news.notify_all()
        self._on_change()
        return output

    def stop(self, poses: Path) -> None:
        """Stop an estimate. Raises RequestError where it neither waits nor runs."""
        with self._news:
            estimate = self._estimates.get(poses)
            if estimate is None or estimate.status not in ("waiting", "running"):
                raise RequestError(f"no poses of {poses.name} are being estimated")
            if poses == self._running:
                self._worker.stop()
                return
            self._estimates[poses] = replace(estimate, status="stopped")
        self._on_change()

    def _work(self) -> None:
        while (output := self._next()) is not None:
            self._on_change()
            status, error = self._estimate(self._estimates[output].task)
            with self._news:
                self._running = None
                self._estimates[output] = replace(
                    self._estimates[output], status=status, error=error
                )
            self._on_change()

    def _next(self) -> Path | None:
        with self._news:
            while not self._closing:
                for path, estimate in self._estimates.items():
                    if estimate.status == "waiting":
                        self._running, self._pace = path, Pace()
                        self._worker.allow()
                        self._estimates[path] = replace(estimate, status="running")
                        return path
                if not self._news.wait(_IDLE_SECONDS):
                    self._worker.end()
            return None

    def _estimate(self, task: PoseTask) -> tuple[Status, str]:
        try:
            self._worker.open(start_poses, lambda number, message: None)
            self._worker.submit(Task(number=1, payload=task))
            outcome = self._worker.wait()
        except StoppedError:
            return "stopped", ""
        assert outcome is not None, "a task was submitted"
        if outcome.failure is not None:
            return "failed", outcome.failure.message
        return "done", ""

    def _receive(self, message: Any) -> None:
        if isinstance(message, StageMessage):
            with self._news:
                self._pace.take(message)
            self._on_change()
