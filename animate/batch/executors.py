"""Executors by the name that a user gives."""

from __future__ import annotations

from animate.batch.executor import JobExecutor, SerialExecutor
from animate.batch.local import LocalExecutor
from animate.batch.ray_jobs import RayExecutor
from animate.errors import RequestError
from animate.request.wording import nearest

EXECUTORS = ("local", "serial", "ray")


def make_executor(
    name: str, workers: int = 1, *, time_limit: float | None = None, address: str | None = None
) -> JobExecutor:
    """The executor called `name` with so many workers.

    time_limit: seconds after which a task's worker is ended and the task has failed
    address: of the Ray cluster; None starts one on this machine

    Raises RequestError for an unknown name or numbers that make no sense, ExecutorError where its
    extra is not installed.
    """
    if name == "serial":
        if workers != 1 or time_limit is not None:
            raise RequestError("the serial executor does one job at a time, without a time limit")
        return SerialExecutor()
    if name == "local":
        return LocalExecutor(workers, time_limit)
    if name == "ray":
        return RayExecutor(workers, time_limit, address)
    known = ", ".join(EXECUTORS)
    raise RequestError(f"executor {name!r} is not one of {known}{nearest(name, [*EXECUTORS])}")
