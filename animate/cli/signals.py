"""SIGTERM, by which farms and clusters stop a task, ends it in order as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM. Whatever tidies up after Ctrl-C does so here."""


@contextmanager
def raised_on_sigterm() -> Iterator[None]:
    """Within, SIGTERM raises `Terminated` where the program is; once, then it is ignored.

    Outside the main thread, where Python allows no handlers, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


def _raise(number: int, frame: FrameType | None) -> None:
    # Queues repeat the signal; a second one must not cut the tidying short.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated
