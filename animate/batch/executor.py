"""Executors of jobs: one small protocol for this process, local processes and a cluster.

An executor knows nothing of clips. It starts workers, hands each a task at a time, and returns an
outcome for every task. Whoever implements it passes the suite in
`tests/batch/executor_contract.py`::

    executor.open(start, listen)         # start(i) runs once in worker i and gives its handler
    executor.submit(Task(number=1, payload=...))
    outcome = executor.wait()            # one for every task, in any order
    executor.close()

Retries, order and records are the runner's (`animate.batch.runner`): an executor that loses a
worker says so with `worker-died`, replaces it, and does not try the task again by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from animate.batch.failures import Failure, failure_of
from animate.errors import InternalError, RequestError

Send = Callable[[Any], None]
"""Sends a small picklable message from a worker to the listener."""


class Handler(Protocol):
    """Does one task after another in a worker."""

    def __call__(self, payload: Any, send: Send) -> Any:
        """Do the task; returns a picklable value, or raises."""

    def close(self) -> None:
        """Give back what is loaded, for a worker that lives on as something else."""


Start = Callable[[int], Handler]
"""Makes worker `i`'s handler, in the worker. Picklable by reference: no lambda, no closure."""

Listen = Callable[[int, Any], None]
"""Gets a task's number and a message of its handler, while somebody waits."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing to do."""

    number: int
    """The caller's own name for it."""
    payload: Any
    """The handler's argument; picklable."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of one task: `value`, or `failure`."""

    number: int
    """The task's."""
    value: Any = None
    """The handler's result."""
    failure: Failure | None = None
    """The reason why there is no result."""
    worker: str = ""
    """The worker that had the task, such as "local 1 (pid 4711)"."""


class JobExecutor(Protocol):
    """Runs tasks in workers that live as long as it is open. Not for several threads."""

    name: str
    """Its name in records."""
    workers: int
    """Tasks that it holds at once."""

    def open(self, start: Start, listen: Listen) -> None:
        """Get ready. Workers may start later; one that cannot start fails its first task with
        `worker-start`. Raises a UserError where the whole executor cannot be had.

        `listen` is called from within `wait`, with a task's messages in order and before its
        outcome; an executor without a way to send them calls it never.
        """

    def submit(self, task: Task) -> None:
        """Hand over a task. Raises InternalError when `workers` are unfinished already."""

    def wait(self, timeout: float | None = None) -> Outcome | None:
        """The next outcome; None after `timeout` seconds, or at once when nothing is unfinished."""

    def close(self) -> None:
        """End the workers, also in the middle of a task. May be called twice."""


class SerialExecutor:
    """One worker: this process. What ends the worker ends the program, and nothing is replaced."""

    name = "serial"
    workers = 1

    def __init__(self) -> None:
        self._start: Start | None = None
        self._listen: Listen | None = None
        self._handler: Handler | None = None
        self._task: Task | None = None

    def open(self, start: Start, listen: Listen) -> None:
        """See `JobExecutor`."""
        self._start, self._listen = start, listen

    def submit(self, task: Task) -> None:
        """See `JobExecutor`."""
        if self._task is not None:
            raise InternalError(f"task {task.number} came before task {self._task.number} ended")
        self._task = task

    def wait(self, timeout: float | None = None) -> Outcome | None:
        """See `JobExecutor`; the work happens here, and `timeout` does not shorten it."""
        task, self._task = self._task, None
        if task is None:
            return None
        if self._start is None or self._listen is None:
            raise InternalError("the executor is not open")
        listen = self._listen
        if self._handler is None:
            try:
                self._handler = self._start(0)
            except Exception as error:
                return start_failed(task, failure_of(error).message, self.name)
        return attempt(self._handler, task, lambda m: listen(task.number, m), self.name)

    def close(self) -> None:
        """See `JobExecutor`. What the handler holds goes with it: this process lives on."""
        handler = self._handler
        self._start = self._listen = self._handler = self._task = None
        if handler is not None:
            handler.close()


def attempt(handler: Handler, task: Task, send: Send, worker: str) -> Outcome:
    """Do a task in a worker; an exception becomes a failure. KeyboardInterrupt passes."""
    try:
        value = handler(task.payload, send)
    except Exception as error:
        return Outcome(number=task.number, failure=failure_of(error), worker=worker)
    return Outcome(number=task.number, value=value, worker=worker)


def start_failed(task: Task, reason: str, worker: str) -> Outcome:
    """The outcome of a task whose worker could not be started."""
    message = f"the worker could not be started: {reason}"
    failure = Failure(kind="worker-start", message=message, passing=True)
    return Outcome(number=task.number, failure=failure, worker=worker)


def worker_died(task: Task, reason: str, worker: str) -> Outcome:
    """The outcome of a task whose worker ended in the middle of it."""
    failure = Failure(kind="worker-died", message=f"the worker {reason}", passing=True)
    return Outcome(number=task.number, failure=failure, worker=worker)


def too_slow(task: Task, limit: float, worker: str) -> Outcome:
    """The outcome of a task whose worker was ended after `limit` seconds."""
    message = f"not done after {limit:g} s, which is the time limit; its worker was ended"
    failure = Failure(kind="time-limit", message=message)
    return Outcome(number=task.number, failure=failure, worker=worker)


def not_sendable(task: Task, error: Exception, worker: str) -> Outcome:
    """The outcome of a task whose result cannot be pickled."""
    failure = Failure(kind="fault", message=f"the job's result cannot be sent: {error}")
    return Outcome(number=task.number, failure=failure, worker=worker)


class CrewMember(Protocol):
    """A worker of an executor that has several."""

    task: Task | None
    """The task in its hands."""
    ready: bool
    """It has started and made its handler."""
    since: float
    """`time.monotonic` at the task's beginning, or at the worker's start."""


def check_crew(workers: int, time_limit: float | None) -> None:
    """Raise RequestError for a number of workers or a limit that makes no sense."""
    if workers < 1:
        raise RequestError(f"jobs {workers} is not at least 1")
    if time_limit is not None and not time_limit > 0:
        raise RequestError(f"time limit {time_limit} is not a positive number of seconds")


def free_slot(slots: Sequence[CrewMember | None], task: Task) -> int:
    """Index of a worker without a task, one that has started before one that has not.

    Raises InternalError when all have one.
    """
    free = [i for i, worker in enumerate(slots) if worker is None or worker.task is None]
    if not free:
        raise InternalError(f"task {task.number} came while all {len(slots)} workers work")
    return min(free, key=lambda i: slots[i] is None)


Member = TypeVar("Member", bound=CrewMember)


def next_outcome(
    slots: Sequence[Member | None],
    limit: float | None,
    timeout: float | None,
    *,
    receive: Callable[[Sequence[Member], float | None], Outcome | None],
    end_late: Callable[[Member], Outcome],
) -> Outcome | None:
    """The next outcome of workers; None after `timeout` seconds, or when nobody has a task.

    receive: takes what busy workers send within so many seconds; None where that is no outcome
    end_late: ends a worker whose task takes longer than `limit` seconds
    """
    until = None if timeout is None else time.monotonic() + timeout
    while busy := [worker for worker in slots if worker is not None and worker.task]:
        outcome = receive(busy, patience(busy, limit, until))
        if outcome is not None:
            return outcome
        for worker in busy:
            if is_late(worker, limit):
                return end_late(worker)
        if until is not None and time.monotonic() >= until:
            return None
    return None


def is_late(worker: CrewMember, limit: float | None) -> bool:
    """True when a task has taken longer than `limit`; a worker's start-up does not count."""
    working = worker.ready and worker.task is not None
    return limit is not None and working and time.monotonic() >= worker.since + limit


def patience(busy: Iterable[CrewMember], limit: float | None, until: float | None) -> float | None:
    """Seconds until the first task is late or `until` comes; None where neither will."""
    ends = [until] if until is not None else []
    if limit is not None:
        ends += [worker.since + limit for worker in busy if worker.ready]
    return max(0.0, min(ends) - time.monotonic()) if ends else None
