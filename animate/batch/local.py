"""Jobs in processes of this machine; one that dies is replaced.

A worker is a fresh interpreter (see `animate.batch.worker`), not a fork: what the program
has loaded, its threads and its accelerator stay out of it, and a program needs no
`if __name__ == "__main__"` guard. Tasks and outcomes travel over a socket as pickles; what the
worker prints is kept for the case that it dies.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection, wait
from typing import IO, Any

from animate.batch.executor import Listen, Outcome, Start, Task, start_failed
from animate.batch.failures import Failure
from animate.errors import InternalError, RequestError

# Modules are found as here, however this program came to find them.
_BOOT = (
    "import json, os, sys; sys.path[:] = json.loads(os.environ.pop('CNX_WORKER_PATH')); "
    "from animate.batch.worker import main; main(sys.argv[1:])"
)
_SHOWN_BYTES = 2000
_PATIENCE = 5.0
"""Seconds that a worker has to end by itself before it is killed."""


class LocalExecutor:
    """`workers` processes, each started when it is first needed."""

    name = "local"

    def __init__(self, workers: int = 1, time_limit: float | None = None) -> None:
        """`time_limit` seconds after which a task's worker is killed and the task has failed.

        Raises RequestError for numbers that make no sense.
        """
        if workers < 1:
            raise RequestError(f"jobs {workers} is not at least 1")
        if time_limit is not None and not time_limit > 0:
            raise RequestError(f"time limit {time_limit} is not a positive number of seconds")
        self.workers = workers
        self._limit = time_limit
        self._start: bytes = b""
        self._listen: Listen | None = None
        self._slots: list[_Worker | None] = [None] * workers

    def open(self, start: Start, listen: Listen) -> None:
        """See `JobExecutor`."""
        self._start, self._listen = pickle.dumps(start), listen

    def submit(self, task: Task) -> None:
        """See `JobExecutor`. A worker that has started goes before one that has not."""
        idle = [i for i, worker in enumerate(self._slots) if worker is None or worker.task is None]
        if not idle:
            raise InternalError(f"task {task.number} came while all {self.workers} workers work")
        index = min(idle, key=lambda i: self._slots[i] is None)
        worker = self._slots[index]
        if worker is None or not worker.give(task):
            if worker is not None:
                worker.end(0)
            worker = self._slots[index] = _Worker(index, self._start, self.workers)
            worker.give(task)

    def wait(self, timeout: float | None = None) -> Outcome | None:
        """See `JobExecutor`."""
        until = None if timeout is None else time.monotonic() + timeout
        while busy := {w.connection: w for w in self._slots if w is not None and w.task}:
            ends = [*([until] if until is not None else []), *self._limits(busy.values())]
            patience = max(0.0, min(ends) - time.monotonic()) if ends else None
            for connection in wait(list(busy), patience):
                outcome = self._hear(busy[connection])  # type: ignore[index]
                if outcome is not None:
                    return outcome
            for worker in busy.values():
                if worker.task and any(time.monotonic() >= end for end in self._limits([worker])):
                    return self._too_slow(worker)
            if until is not None and time.monotonic() >= until:
                return None
        return None

    def close(self) -> None:
        """See `JobExecutor`. Workers are asked to end first, so that they leave no partial file."""
        workers, self._slots = [w for w in self._slots if w], [None] * self.workers
        for worker in workers:
            worker.ask_to_end()
        until = time.monotonic() + _PATIENCE
        for worker in workers:
            worker.end(max(0.0, until - time.monotonic()))

    def _limits(self, busy: Any) -> list[float]:
        """When tasks that have begun must be done; a worker's start-up does not count."""
        if self._limit is None:
            return []
        return [worker.since + self._limit for worker in busy if worker.ready]

    def _hear(self, worker: _Worker) -> Outcome | None:
        """One message of a worker: an outcome, or None for what is told or said in passing."""
        assert worker.task is not None
        try:
            kind, content = worker.connection.recv()
        except (EOFError, ConnectionError, pickle.UnpicklingError):
            return self._lost(worker)
        if kind == "told":
            assert self._listen is not None
            self._listen(worker.task.number, content)
            return None
        if kind == "ready":
            worker.ready, worker.since = True, time.monotonic()
            return None
        task, worker.task = worker.task, None
        if kind == "no start":
            self._drop(worker)
            return start_failed(task, content, worker.title)
        assert isinstance(content, Outcome)
        return content

    def _lost(self, worker: _Worker) -> Outcome:
        task = worker.task
        assert task is not None
        why = self._drop(worker)
        if not worker.ready:
            return start_failed(task, why, worker.title)
        failure = Failure(kind="worker-died", message=f"the worker's process {why}", passing=True)
        return Outcome(number=task.number, failure=failure, worker=worker.title)

    def _too_slow(self, worker: _Worker) -> Outcome:
        task = worker.task
        assert task is not None
        worker.process.kill()
        self._drop(worker)
        message = f"not done after {self._limit:g} s, which is the time limit; its worker was ended"
        failure = Failure(kind="time-limit", message=message)
        return Outcome(number=task.number, failure=failure, worker=worker.title)

    def _drop(self, worker: _Worker) -> str:
        self._slots[worker.index] = None
        return worker.end(_PATIENCE)


class _Worker:
    """One process and what it is doing."""

    def __init__(self, index: int, start: bytes, workers: int) -> None:
        ours, theirs = socket.socketpair()
        self.index = index
        self.task: Task | None = None
        self.since = time.monotonic()
        self.ready = False
        self.said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as it lives
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, str(theirs.fileno()), str(index)],
                # Its end tells the worker that this process is gone, however it went.
                stdin=subprocess.PIPE,
                stdout=self.said,
                stderr=self.said,
                pass_fds=[theirs.fileno()],
                env=_environment(workers),
            )
        self.title = f"local {index} (pid {self.process.pid})"
        self.connection = Connection(ours.detach())
        self._send(start)

    def give(self, task: Task) -> bool:
        """Hand over a task; False where the process is gone."""
        self.task, self.since = task, time.monotonic()
        return self._send(pickle.dumps(task)) and (not self.ready or self.process.poll() is None)

    def _send(self, content: bytes) -> bool:
        try:
            self.connection.send_bytes(content)
        except (ConnectionError, OSError):
            return False
        return True

    def ask_to_end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()

    def end(self, patience: float) -> str:
        """Wait so long for the process, then kill it; says how it ended and what it said last."""
        self.connection.close()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        with self.said:
            return self._death() + self._last_words()

    def _death(self) -> str:
        """How the process ended, in words."""
        code = self.process.returncode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            cause = "; the system does so when memory runs out" if name == "SIGKILL" else ""
            return f"was ended by {name}{cause}"
        return f"ended by itself with code {code}"

    def _last_words(self) -> str:
        """The end of what it printed."""
        size = self.said.seek(0, os.SEEK_END)
        self.said.seek(max(0, size - _SHOWN_BYTES))
        text = self.said.read().decode(errors="replace").strip()
        return f"; it last said: {text}" if text else ""


def _environment(workers: int) -> dict[str, str]:
    """This process's, where modules are found, and a fair share of the cores."""
    own = dict(os.environ)
    own["CNX_WORKER_PATH"] = json.dumps([p for p in sys.path if p] + [os.getcwd()])
    share = max(1, len(os.sched_getaffinity(0)) // workers)
    own.setdefault("OMP_NUM_THREADS", str(share))
    return own
