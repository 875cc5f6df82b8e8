"""The suites that executors of jobs pass: one for all, one for those with worker processes, one
for those that send messages. Derive a test class of those that apply and make the executor::

class TestMine(WorkerProcesses, Messages):
    def make(self, workers: int) -> JobExecutor: ...
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from animate.batch.executor import JobExecutor, Outcome, Send, Task
from animate.errors import InternalError, MediaError


class Acting:
    """A handler that does what its payload names, and counts its own tasks."""

    def __init__(self, worker: int) -> None:
        self._worker, self._count = worker, 0
        self.closed = False

    def __call__(self, payload: Any, send: Send) -> Any:
        self._count += 1
        action, *values = payload
        return ACTIONS[action](send, self._count, self._worker, *values)

    def close(self) -> None:
        self.closed = True


def start(worker: int) -> Acting:
    return Acting(worker)


def start_badly(worker: int) -> Acting:
    raise MediaError("no disk to start from")


def _wait_for(send: Send, count: int, worker: int, own: str, other: str) -> str:
    """Done only when two of these run at the same time."""
    Path(own).touch()
    deadline = time.monotonic() + 60
    while not Path(other).exists():
        if time.monotonic() > deadline:
            raise TimeoutError("nobody came")
        time.sleep(0.01)
    return "met"


def _send_thrice(send: Send, count: int, worker: int) -> int:
    for number in range(3):
        send(number)
    return 3


def _fail(send: Send, count: int, worker: int, kind: str) -> Any:
    if kind == "user":
        raise MediaError("dance.mp4 is damaged; export it again")
    raise ZeroDivisionError("oops")


ACTIONS: dict[str, Callable[..., Any]] = {
    "echo": lambda send, count, worker, value: value,
    "who": lambda send, count, worker: (os.getpid(), worker, count),
    "fail": _fail,
    "die": lambda send, count, worker: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda send, count, worker: os._exit(7),
    "sleep": lambda send, count, worker, seconds: time.sleep(seconds),
    "meet": _wait_for,
    "send": _send_thrice,
    "path": lambda send, count, worker: sys.path,
    "unpicklable": lambda send, count, worker: lambda: None,
}


class ExecutorContract:
    """The suite for every executor."""

    def make(self, workers: int) -> JobExecutor:
        raise NotImplementedError

    @pytest.fixture
    def opened(self) -> Iterator[Callable[..., JobExecutor]]:
        made: list[JobExecutor] = []

        def build(workers: int = 1, begin: Any = start, heard: Any = None) -> JobExecutor:
            executor = self.make(workers)
            made.append(executor)
            executor.open(begin, lambda *message: None if heard is None else heard.append(message))
            return executor

        yield build
        for executor in made:
            executor.close()

    @staticmethod
    def do(executor: JobExecutor, *payloads: Any) -> dict[int, Outcome]:
        """Every payload, as many at a time as there are workers."""
        waiting = [Task(number=n, payload=payload) for n, payload in enumerate(payloads)]
        outcomes: dict[int, Outcome] = {}
        unfinished = 0
        while waiting or unfinished:
            while waiting and unfinished < executor.workers:
                executor.submit(waiting.pop(0))
                unfinished += 1
            outcome = executor.wait()
            assert outcome is not None
            assert outcome.number not in outcomes, "an outcome came twice"
            outcomes[outcome.number] = outcome
            unfinished -= 1
        assert executor.wait(0) is None
        return outcomes

    def test_every_task_has_one_outcome(self, opened: Any) -> None:
        outcomes = self.do(opened(), *(("echo", value) for value in range(9)))
        assert {n: o.value for n, o in outcomes.items()} == {n: n for n in range(9)}
        assert all(outcome.worker for outcome in outcomes.values())

    def test_large_values_travel(self, opened: Any) -> None:
        value = os.urandom(3_000_000)
        assert self.do(opened(), ("echo", value))[0].value == value

    def test_a_worker_keeps_its_handler(self, opened: Any) -> None:
        outcomes = self.do(opened(), ("who",), ("who",), ("fail", "ours"), ("who",))
        first, second, last = (outcomes[n].value for n in (0, 1, 3))
        assert first[:2] == second[:2] == last[:2]
        assert (first[2], second[2], last[2]) == (1, 2, 4)

    def test_errors_have_kinds_and_stop_nobody(self, opened: Any) -> None:
        outcomes = self.do(opened(), ("fail", "user"), ("fail", "ours"), ("echo", 1))
        user, ours = outcomes[0].failure, outcomes[1].failure
        assert user is not None
        assert (user.kind, user.passing, user.trace) == ("media", False, "")
        assert "export it again" in user.message
        assert ours is not None
        assert ours.kind == "fault"
        assert "ZeroDivisionError: oops" in ours.message
        assert "_fail" in ours.trace
        assert outcomes[2].value == 1

    def test_too_many_at_once_are_refused(self, opened: Any) -> None:
        executor = opened()
        executor.submit(Task(number=1, payload=("echo", 1)))
        with pytest.raises(InternalError):
            executor.submit(Task(number=2, payload=("echo", 2)))
        assert executor.wait().value == 1

    def test_a_worker_that_cannot_start_says_why(self, opened: Any) -> None:
        failure = self.do(opened(begin=start_badly), ("echo", 1))[0].failure
        assert failure is not None
        assert failure.kind == "worker-start"
        assert "no disk to start from" in failure.message

    def test_closing_twice_is_allowed(self, opened: Any) -> None:
        executor = opened()
        self.do(executor, ("echo", 1))
        executor.close()
        executor.close()


class Messages(ExecutorContract):
    """The suite for executors whose tasks can send messages."""

    def test_messages_come_in_order_and_before_the_outcome(self, opened: Any) -> None:
        heard: list[tuple[int, Any]] = []
        self.do(opened(heard=heard), ("send",), ("echo", 1), ("send",))
        assert heard == [(n, m) for n in (0, 2) for m in (0, 1, 2)]


class WorkerProcesses(ExecutorContract):
    """The suite for executors whose workers are processes that can die by themselves."""

    def test_two_workers_share_tasks(self, opened: Any) -> None:
        outcomes = self.do(opened(2), *(("echo", value) for value in range(9)))
        assert {n: o.value for n, o in outcomes.items()} == {n: n for n in range(9)}

    def test_tasks_run_at_the_same_time(self, opened: Any, tmp_path: Path) -> None:
        a, b = str(tmp_path / "a"), str(tmp_path / "b")
        outcomes = self.do(opened(2), ("meet", a, b), ("meet", b, a))
        assert [outcomes[n].value for n in (0, 1)] == ["met", "met"]

    @pytest.mark.parametrize("how", ["die", "exit"])
    def test_a_worker_that_dies_is_replaced(self, opened: Any, how: str) -> None:
        outcomes = self.do(opened(), ("who",), (how,), ("who",))
        failure = outcomes[1].failure
        assert failure is not None
        assert (failure.kind, failure.passing) == ("worker-died", True)
        assert outcomes[0].value[0] != outcomes[2].value[0]
        assert outcomes[2].value[1:] == (0, 1)

    def test_a_value_that_cannot_travel_is_a_fault(self, opened: Any) -> None:
        outcomes = self.do(opened(), ("unpicklable",), ("echo", 1))
        failure = outcomes[0].failure
        assert failure is not None
        assert failure.kind == "fault"
        assert outcomes[1].value == 1

    def test_closing_ends_a_worker_in_the_middle_of_a_task(self, opened: Any) -> None:
        executor = opened()
        pid = self.do(executor, ("who",))[0].value[0]
        executor.submit(Task(number=1, payload=("sleep", 600)))
        assert executor.wait(0.2) is None
        began = time.monotonic()
        executor.close()
        while _lives(pid) and time.monotonic() - began < 30:
            time.sleep(0.05)
        assert not _lives(pid)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
