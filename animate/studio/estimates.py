"""The queue of pose estimates, in a worker process of its own: poses need not wait for clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from animate.batch.executor import Task
from animate.errors import RequestError
from animate.studio.jobs import JobProcess
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
        self._process = JobProcess("poses", start_poses, self, idle_seconds=_IDLE_SECONDS)
        self._news = self._process.news
        self._estimates: dict[Path, _Estimate] = {}

    def start(self) -> None:
        """Begin to wait for videos."""
        self._process.start()

    def close(self) -> None:
        """Stop at once; nothing half-written stays."""
        self._process.close()

    def views(self) -> list[EstimateView]:
        """Estimates that wait, run, or have ended since the start."""
        with self._news:
            return [self._view(path, estimate) for path, estimate in self._estimates.items()]

    def submit(self, video: Path, estimator: str) -> Path:
        """Queue a video; the path of its pose file. One that waits or runs already stays so.

        Raises OutsideError where a link of that name leads out of the project.
        """
        output = video.with_suffix(".npz")
        self._project.check_inside(output)
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
            if self._process.stop(poses):
                return
            self._estimates[poses] = replace(estimate, status="stopped")
        self._on_change()

    def next_job(self) -> Path | None:
        """See `JobQueue`."""
        for path, estimate in self._estimates.items():
            if estimate.status == "waiting":
                self._estimates[path] = replace(estimate, status="running")
                return path
        return None

    def do(self, job: Path, worker: HeldWorker) -> None:
        """See `JobQueue`."""
        status, error = _estimated(self._estimates[job].task, worker)
        with self._news:
            self._estimates[job] = replace(self._estimates[job], status=status, error=error)

    def receive(self, message: Any) -> None:
        """See `JobQueue`: an estimate has nothing to say but its stage."""

    def changed(self) -> None:
        """See `JobQueue`."""
        self._on_change()

    def _view(self, path: Path, estimate: _Estimate) -> EstimateView:
        pace = self._process.pace(path) or Pace()
        return EstimateView(
            video=self._project.name(estimate.task.video),
            poses=self._project.name(path),
            status=estimate.status,
            done=pace.done,
            total=pace.total,
            error=estimate.error,
        )


def _estimated(task: PoseTask, worker: HeldWorker) -> tuple[Status, str]:
    """Do a task; how it ended, and the fault in words."""
    try:
        worker.open(start_poses, lambda number, message: None)
        worker.submit(Task(number=1, payload=task))
        outcome = worker.wait()
    except StoppedError:
        return "stopped", ""
    assert outcome is not None, "a task was submitted"
    if outcome.failure is not None:
        return "failed", outcome.failure.message
    return "done", ""
