"""Executors by name, each imported only when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from animate.batch.executor import JobExecutor
from animate.errors import RequestError
from animate.request.wording import nearest

EXECUTORS = {
    "local": "animate.batch.local:LocalExecutor",
    "serial": "animate.batch.serial:SerialExecutor",
    "ray": "animate.batch.ray_jobs:RayExecutor",
}


def make_executor(name: str, workers: int = 1, **options: Any) -> JobExecutor:
    """The executor called `name` with so many workers; `options` are its own.

    Raises RequestError for an unknown name or numbers that make no sense, and the executor's own
    error where its extra is not installed.
    """
    if name not in EXECUTORS:
        known = ", ".join(EXECUTORS)
        raise RequestError(f"executor {name!r} is not one of {known}{nearest(name, [*EXECUTORS])}")
    if name == "serial":
        if workers != 1 or options.pop("time_limit", None) is not None:
            raise RequestError("the serial executor does one job at a time, without a time limit")
        workers_given: dict[str, Any] = {}
    else:
        workers_given = {"workers": workers}
    module, _, cls = EXECUTORS[name].partition(":")
    made: JobExecutor = getattr(import_module(module), cls)(**workers_given, **options)
    return made
