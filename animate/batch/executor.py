"""Where jobs run: one small protocol for this process, local processes and a cluster.

An executor knows nothing of clips. It starts workers, hands each a task at a time, and says what
became of it. Whoever implements it passes the suite in `tests/batch/executor_contract.py`::

    executor.open(start, listen)         # start(i) runs once in worker i and gives its handler
    executor.submit(Task(number=1, payload=...))
    outcome = executor.wait()            # one for every task, in any order
    executor.close()

Retries, order and records are the runner's (`animate.batch.runner`): an executor that loses a
worker says so with `worker-died`, replaces it, and does not try the task again by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from animate.batch.failures import Failure, failure_of

Tell = Callable[[Any], None]
"""Sends a small picklable message from a worker to whoever listens."""

Handler = Callable[[Any, Tell], Any]
"""Does one task in a worker: gets the payload, returns a picklable value or raises."""

Start = Callable[[int], Handler]
"""Makes worker `i`'s handler, in the worker. Picklable by reference: no lambda, no closure."""

Listen = Callable[[int, Any], None]
"""Gets a task's number and what its handler told, while somebody waits."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing to do.

    Attributes:
        number: the caller's own name for it.
        payload: what the handler gets; picklable.
    """

    number: int
    payload: Any


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one task ended: `value`, or `failure`.

    Attributes:
        number: of the task.
        value: what the handler returned.
        failure: why there is none.
        worker: which worker had it, such as "local 1 (pid 4711)".
    """

    number: int
    value: Any = None
    failure: Failure | None = None
    worker: str = ""


class JobExecutor(Protocol):
    """Runs tasks in workers that live as long as it is open. Not for several threads."""

    name: str
    """What it is called in records."""
    workers: int
    """How many tasks it holds at once."""

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


def attempt(handler: Handler, task: Task, tell: Tell, worker: str) -> Outcome:
    """Do a task in a worker; an exception becomes a failure. KeyboardInterrupt passes."""
    try:
        value = handler(task.payload, tell)
    except Exception as error:
        return Outcome(number=task.number, failure=failure_of(error), worker=worker)
    return Outcome(number=task.number, value=value, worker=worker)


def start_failed(task: Task, why: str, worker: str) -> Outcome:
    """The outcome of a task whose worker could not be started."""
    message = f"the worker could not be started: {why}"
    failure = Failure(kind="worker-start", message=message, passing=True)
    return Outcome(number=task.number, failure=failure, worker=worker)
