"""Jobs one after another in this process: for debugging, and where processes cannot be had."""

from __future__ import annotations

from animate.batch.executor import Handler, Listen, Outcome, Start, Task, attempt, start_failed
from animate.batch.failures import failure_of
from animate.errors import InternalError


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
        assert self._start is not None, "open comes first"
        assert self._listen is not None
        listen = self._listen
        if self._handler is None:
            try:
                self._handler = self._start(0)
            except Exception as error:
                return start_failed(task, failure_of(error).message, self.name)
        return attempt(self._handler, task, lambda m: listen(task.number, m), self.name)

    def close(self) -> None:
        """See `JobExecutor`. What the handler holds goes with it: this process lives on."""
        let_go = getattr(self._handler, "close", None)
        self._start = self._listen = self._handler = self._task = None
        if let_go is not None:
            let_go()
