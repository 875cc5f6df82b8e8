"""Executors of jobs on one machine, held to the common contract."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from animate.batch.executor import JobExecutor, SerialExecutor
from animate.batch.local import LocalExecutor
from animate.errors import RequestError
from tests.batch import executor_contract
from tests.batch.executor_contract import Acting, Messages, WorkerProcesses, start

ROOT = Path(__file__).parents[2]


class TestSerial(Messages):
    def make(self, workers: int) -> JobExecutor:
        return SerialExecutor()

    def test_closing_gives_back_what_the_handler_holds(self) -> None:
        handler = Acting(0)
        executor = SerialExecutor()
        executor.open(lambda worker: handler, lambda *message: None)
        self.do(executor, ("echo", 1))
        assert not handler.closed
        executor.close()
        assert handler.closed


class TestLocal(WorkerProcesses, Messages):
    def make(self, workers: int) -> JobExecutor:
        return LocalExecutor(workers)

    def test_what_a_dying_worker_said_is_kept(self) -> None:
        executor = LocalExecutor(1)
        executor.open(start, lambda *message: None)
        try:
            failure = self.do(executor, ("die",))[0].failure
        finally:
            executor.close()
        assert failure is not None
        assert "SIGKILL" in failure.message

    def test_nothing_in_the_current_folder_is_taken_for_a_module(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "json.py").write_text("raise SystemExit(7)")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", [str(ROOT), *filter(None, sys.path)])
        executor = LocalExecutor(1)
        executor.open(start, lambda *message: None)
        try:
            outcome = self.do(executor, ("path",))[0]
        finally:
            executor.close()
        assert outcome.value == sys.path

    def test_a_task_that_takes_too_long_is_ended(self) -> None:
        executor = LocalExecutor(1, time_limit=1.0)
        executor.open(start, lambda *message: None)
        try:
            outcomes = self.do(executor, ("sleep", 600), ("echo", 1))
        finally:
            executor.close()
        assert outcomes[0].failure is not None
        assert (outcomes[0].failure.kind, outcomes[0].failure.passing) == ("time-limit", False)
        assert outcomes[1].value == 1

    def test_an_idle_worker_that_was_killed_is_replaced(self) -> None:
        executor = LocalExecutor(1)
        executor.open(start, lambda *message: None)
        try:
            pid = self.do(executor, ("who",))[0].value[0]
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)
            assert self.do(executor, ("echo", 5))[0].value == 5
        finally:
            executor.close()


def test_workers_end_with_a_starter_that_was_killed(tmp_path: Path) -> None:
    code = (
        "from animate.batch.local import LocalExecutor\n"
        "from animate.batch.executor import Task\n"
        "from tests.batch.executor_contract import start\n"
        "e = LocalExecutor(1)\n"
        "e.open(start, lambda *message: None)\n"
        "e.submit(Task(number=0, payload=('who',)))\n"
        "print(e.wait().value[0], flush=True)\n"
        "e.submit(Task(number=1, payload=('sleep', 600)))\n"
        "e.wait()\n"
    )
    root = Path(executor_contract.__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        starter.kill()
    deadline = time.monotonic() + 20
    while executor_contract._lives(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not executor_contract._lives(pid)


@pytest.mark.parametrize(("workers", "limit"), [(0, None), (1, 0.0), (1, float("nan"))])
def test_numbers_that_make_no_sense_are_refused(workers: int, limit: float | None) -> None:
    with pytest.raises(RequestError):
        LocalExecutor(workers, time_limit=limit)
