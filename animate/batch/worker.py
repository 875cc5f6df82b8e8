"""A worker process of `animate.batch.local`, which starts it with its socket and its index.

It ends when it is asked to (SIGTERM, leaving no partial file), when its socket closes, and when
the process that started it is gone, in the middle of a task as well.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any


def main(arguments: list[str]) -> None:
    """Make the handler, then do tasks until there are no more."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the starter, who then stops us
    threading.Thread(target=_end_with_starter, daemon=True).start()
    connection, index = Connection(int(arguments[0])), int(arguments[1])
    with suppress(EOFError, ConnectionError):  # the starter has closed
        _serve(connection, index)


def _serve(connection: Connection, index: int) -> None:
    from animate.batch.executor import Task, attempt
    from animate.batch.failures import failure_of

    title = f"local {index} (pid {os.getpid()})"
    try:
        handler = pickle.loads(connection.recv_bytes())(index)
    except Exception as error:
        connection.send(("no start", failure_of(error).message))
        return
    connection.send(("ready", None))
    while True:
        task: Task = pickle.loads(connection.recv_bytes())
        outcome = attempt(handler, task, lambda m: connection.send(("told", m)), title)
        try:
            content = pickle.dumps(("outcome", outcome))
        except Exception as error:  # pickle raises whatever an object's own code does
            content = pickle.dumps(("outcome", _unsendable(task, error, title)))
        connection.send_bytes(content)


def _unsendable(task: Any, error: Exception, title: str) -> Any:
    from animate.batch.executor import Outcome
    from animate.batch.failures import Failure

    message = f"the job's result cannot be sent: {error}"
    return Outcome(number=task.number, failure=Failure(kind="fault", message=message), worker=title)


def _stop(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


def _end_with_starter() -> None:
    os.read(0, 1)  # returns when the other end is closed, which also a SIGKILL does
    os._exit(1)
