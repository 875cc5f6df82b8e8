"""Jobs in actors of a Ray cluster: one named by its address, or one that is started here.

A worker is an actor that holds one task at a time. Ray neither starts it again nor repeats its
task: that is the runner's business, which knows what is worth another attempt. Where the cluster
has GPUs, each worker takes one; inputs and outputs must be at the same paths on all machines.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Sequence
from typing import Any

from animate.batch.executor import (
    Handler,
    Listen,
    Outcome,
    Start,
    Task,
    attempt,
    check_crew,
    free_slot,
    next_outcome,
    not_sendable,
    start_failed,
    too_slow,
    worker_died,
)
from animate.batch.failures import failure_of
from animate.errors import InternalError
from animate.generate.workers.ray_cluster import check_resources, connect, disconnect, require_ray


class RayExecutor:
    """`workers` actors, each started when it is first needed. Messages of tasks are not sent."""

    name = "ray"

    def __init__(
        self, workers: int = 1, time_limit: float | None = None, address: str | None = None
    ) -> None:
        """
        time_limit: seconds after which a task's worker is ended and the task has failed
        address: of a cluster's head, HOST:PORT or auto; None starts Ray on this machine

        Raises RequestError for numbers that make no sense, ExecutorError where Ray is missing.
        """
        check_crew(workers, time_limit)
        require_ray()
        self.workers = workers
        self._limit, self._address = time_limit, address
        self._start = b""
        self._leave = False
        self._each: dict[str, float] = {}
        self._slots: list[_Worker | None] = [None] * workers

    def open(self, start: Start, listen: Listen) -> None:
        """See `JobExecutor`. Raises ExecutorError when the cluster cannot be had."""
        threads = max(1, len(os.sched_getaffinity(0)) // self.workers)
        connected = connect(self._address, processors=self.workers * threads)
        self._leave = connected or self._leave  # an opening that failed has connected already
        gpus = require_ray().cluster_resources().get("GPU", 0.0)
        cores = threads if self._address is None and self._leave else 1
        self._each = {"CPU": float(cores)} | ({"GPU": 1.0} if gpus else {})
        total = {name: amount * self.workers for name, amount in self._each.items()}
        check_resources(self._address, total, f"{self.workers} jobs at a time")
        self._start = pickle.dumps(start)

    def submit(self, task: Task) -> None:
        """See `JobExecutor`."""
        index = free_slot(self._slots, task)
        worker = self._slots[index]
        if worker is None:
            worker = self._slots[index] = _Worker(index, self._start, self._each)
        worker.give(task)

    def wait(self, timeout: float | None = None) -> Outcome | None:
        """See `JobExecutor`."""
        return next_outcome(
            self._slots, self._limit, timeout, receive=self._receive, end_late=self._end_late
        )

    def close(self) -> None:
        """See `JobExecutor`. What a worker had half-written is removed by the next who writes."""
        workers, self._slots = [w for w in self._slots if w], [None] * self.workers
        for worker in workers:
            worker.end()
        if self._leave:
            self._leave = False
            disconnect()

    def _receive(self, busy: Sequence[_Worker], seconds: float | None) -> Outcome | None:
        """The outcome of the first call that ends within so many seconds; None where none does."""
        workers = {worker.awaited: worker for worker in busy}
        calls, _ = require_ray().wait(list(workers), num_returns=1, timeout=seconds)
        for call in calls:
            return self._answer(workers[call], call)
        return None

    def _answer(self, worker: _Worker, call: Any) -> Outcome | None:
        """An answer of a worker: an outcome, or None for the word that it is ready."""
        ray = require_ray()
        task = worker.task
        assert task is not None
        try:
            content = ray.get(call)
        except ray.exceptions.RayError as error:
            self._drop(worker)
            reason = " ".join(str(error).split())
            if not worker.ready:
                return start_failed(task, reason, worker.title)
            return worker_died(task, f"died: {reason}", worker.title)
        if worker.ready:
            worker.task = None
            outcome = pickle.loads(content)
            assert isinstance(outcome, Outcome)
            return outcome
        worker.title, complaint = content
        if complaint:
            self._drop(worker)
            return start_failed(task, complaint, worker.title)
        worker.begin_task()
        return None

    def _end_late(self, worker: _Worker) -> Outcome:
        task = worker.task
        assert task is not None
        assert self._limit is not None
        self._drop(worker)
        return too_slow(task, self._limit, worker.title)

    def _drop(self, worker: _Worker) -> None:
        self._slots[worker.index] = None
        worker.end()


class _Worker:
    """One actor and its task."""

    def __init__(self, index: int, start: bytes, each: dict[str, float]) -> None:
        self.index, self.title = index, f"ray {index}"
        self.task: Task | None = None
        self.ready, self.since = False, time.monotonic()
        kind = require_ray().remote(_Actor)
        self._actor = kind.options(
            num_cpus=each["CPU"], num_gpus=each.get("GPU", 0), max_restarts=0, max_task_retries=0
        ).remote(index)
        self.awaited = self._actor.begin.remote(start)
        """The call whose answer comes next."""

    def give(self, task: Task) -> None:
        """Hand over a task, once the worker is ready."""
        self.task = task
        if self.ready:
            self.begin_task()

    def begin_task(self) -> None:
        self.ready, self.since = True, time.monotonic()
        self.awaited = self._actor.do.remote(pickle.dumps(self.task))

    def end(self) -> None:
        require_ray().kill(self._actor)


class _Actor:
    """The worker's side."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._title = f"ray {index} (pid {os.getpid()} on {os.uname().nodename})"
        self._handler: Handler | None = None

    def begin(self, start: bytes) -> tuple[str, str]:
        """Make the handler; returns the worker's title, and the reason if it failed."""
        try:
            self._handler = pickle.loads(start)(self._index)
        except Exception as error:
            return self._title, failure_of(error).message or type(error).__name__
        return self._title, ""

    def do(self, pickled: bytes) -> bytes:
        """Do a task; returns its outcome, pickled."""
        task: Task = pickle.loads(pickled)
        if self._handler is None:
            raise InternalError("begin comes before do")
        outcome = attempt(self._handler, task, lambda message: None, self._title)
        try:
            return pickle.dumps(outcome)
        except Exception as error:  # pickle raises whatever an object's own code does
            return pickle.dumps(not_sendable(task, error, self._title))
