"""Jobs in processes of this machine; one that dies is replaced.

A worker is a fresh interpreter, not a fork: what the program has loaded, its threads and its
accelerator stay out of it, and a program needs no `if __name__ == "__main__"` guard. Tasks and
outcomes travel over a socket as pickles; what the worker prints is kept for the case that it dies.
It ends when it is asked to (SIGTERM, leaving no partial file), when its socket closes, and when
the process that started it is gone, in the middle of a task as well.
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
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import IO, Any

from animate.batch.executor import (
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

# Modules are found as here, however this program came to find them; -P: nothing that lies in the
# current folder is taken for one before.
_BOOT = (
    "import json, os, sys; sys.path[:] = json.loads(os.environ.pop('CNX_WORKER_PATH')); "
    "from animate.batch.local import serve; serve(sys.argv[1:])"
)
_LAST_WORDS_BYTES = 2000
_GRACE_SECONDS = 5.0
"""Time that a worker has to end by itself before it is killed."""


class LocalExecutor:
    """`workers` processes, each started when it is first needed."""

    name = "local"

    def __init__(self, workers: int = 1, time_limit: float | None = None) -> None:
        """`time_limit` seconds after which a task's worker is killed and the task has failed.

        Raises RequestError for numbers that make no sense.
        """
        check_crew(workers, time_limit)
        self.workers = workers
        self._limit = time_limit
        self._start: bytes = b""
        self._listen: Listen | None = None
        self._slots: list[_Worker | None] = [None] * workers

    def open(self, start: Start, listen: Listen) -> None:
        """See `JobExecutor`."""
        self._start, self._listen = pickle.dumps(start), listen

    def submit(self, task: Task) -> None:
        """See `JobExecutor`."""
        index = free_slot(self._slots, task)
        worker = self._slots[index]
        if worker is None or not worker.give(task):
            if worker is not None:
                worker.end(0)
            worker = self._slots[index] = _Worker(index, self._start, self.workers)
            worker.give(task)

    def wait(self, timeout: float | None = None) -> Outcome | None:
        """See `JobExecutor`."""
        return next_outcome(
            self._slots, self._limit, timeout, receive=self._receive, end_late=self._end_late
        )

    def close(self) -> None:
        """See `JobExecutor`. Workers are asked to end first, so that they leave no partial file."""
        workers, self._slots = [w for w in self._slots if w], [None] * self.workers
        for worker in workers:
            worker.ask_to_end()
        until = time.monotonic() + _GRACE_SECONDS
        for worker in workers:
            worker.end(max(0.0, until - time.monotonic()))

    def _receive(self, busy: Sequence[_Worker], seconds: float | None) -> Outcome | None:
        """The first outcome among what comes within so many seconds; None where none is."""
        workers: dict[object, _Worker] = {worker.connection: worker for worker in busy}
        for connection in wait([worker.connection for worker in busy], seconds):
            outcome = self._read(workers[connection])
            if outcome is not None:
                return outcome
        return None

    def _read(self, worker: _Worker) -> Outcome | None:
        """One message of a worker: an outcome, or None for a message in between."""
        assert worker.task is not None
        try:
            kind, content = worker.connection.recv()
        except (EOFError, ConnectionError, pickle.UnpicklingError):
            return self._lost(worker)
        if kind == "message":
            if self._listen is None:
                raise InternalError("the executor is not open")
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
        reason = self._drop(worker)
        if not worker.ready:
            return start_failed(task, reason, worker.title)
        return worker_died(task, f"process {reason}", worker.title)

    def _end_late(self, worker: _Worker) -> Outcome:
        task = worker.task
        assert task is not None
        assert self._limit is not None
        worker.process.kill()
        self._drop(worker)
        return too_slow(task, self._limit, worker.title)

    def _drop(self, worker: _Worker) -> str:
        self._slots[worker.index] = None
        return worker.end(_GRACE_SECONDS)


class _Worker:
    """One process and its task."""

    def __init__(self, index: int, start: bytes, workers: int) -> None:
        near_end, far_end = socket.socketpair()
        self.index = index
        self.task: Task | None = None
        self.since = time.monotonic()
        self.ready = False
        self._printed: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - as long as it lives
        with far_end:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, str(far_end.fileno()), str(index)],
                # Its end tells the worker that this process is gone, however it went.
                stdin=subprocess.PIPE,
                stdout=self._printed,
                stderr=self._printed,
                pass_fds=[far_end.fileno()],
                env=_environment(workers),
            )
        self.title = f"local {index} (pid {self.process.pid})"
        self.connection = Connection(near_end.detach())
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
        """Send SIGTERM, which a worker answers by removing its partial files."""
        if self.process.poll() is None:
            self.process.terminate()

    def end(self, seconds: float) -> str:
        """Wait so long for the process, then kill it; returns how it ended and its last words."""
        self.connection.close()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        with self._printed:
            return self._death() + self._last_words()

    def _death(self) -> str:
        """The end of the process, in words."""
        code = self.process.returncode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            cause = "; the system does so when memory runs out" if name == "SIGKILL" else ""
            return f"was ended by {name}{cause}"
        return f"ended by itself with code {code}"

    def _last_words(self) -> str:
        """The end of what it printed."""
        size = self._printed.seek(0, os.SEEK_END)
        self._printed.seek(max(0, size - _LAST_WORDS_BYTES))
        text = self._printed.read().decode(errors="replace").strip()
        return f"; it last said: {text}" if text else ""


def _environment(workers: int) -> dict[str, str]:
    """This process's, where modules are found, and a fair share of the cores."""
    variables = dict(os.environ)
    variables["CNX_WORKER_PATH"] = json.dumps(_search_path())
    share = max(1, len(os.sched_getaffinity(0)) // workers)
    variables.setdefault("OMP_NUM_THREADS", str(share))
    return variables


def _search_path() -> list[str]:
    """Folders in which this process finds modules; the current one only where it is among them, as
    whatever lies in it would be taken for packages that are not installed."""
    return [path or os.getcwd() for path in sys.path]


def serve(arguments: Sequence[str]) -> None:
    """Be a worker process, with its socket and index as arguments, until there are no tasks."""
    signal.signal(signal.SIGTERM, _stop)
    for number in (signal.SIGINT, signal.SIGHUP):  # for the starter, who then stops us
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_starter, daemon=True).start()
    connection, index = Connection(int(arguments[0])), int(arguments[1])
    with suppress(EOFError, ConnectionError):  # the starter has closed
        _do_tasks(connection, index)


def _do_tasks(connection: Connection, index: int) -> None:
    title = f"local {index} (pid {os.getpid()})"
    try:
        handler = pickle.loads(connection.recv_bytes())(index)
    except Exception as error:
        connection.send(("no start", failure_of(error).message))
        return
    connection.send(("ready", None))
    while True:
        task: Task = pickle.loads(connection.recv_bytes())
        outcome = attempt(handler, task, lambda m: connection.send(("message", m)), title)
        try:
            content = pickle.dumps(("outcome", outcome))
        except Exception as error:  # pickle raises whatever an object's own code does
            content = pickle.dumps(("outcome", not_sendable(task, error, title)))
        connection.send_bytes(content)


def _stop(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


def _end_with_starter() -> None:
    os.read(0, 1)  # returns when the other end is closed, which also a SIGKILL does
    os._exit(1)
