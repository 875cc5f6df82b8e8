"""Signals by which farms, clusters and closing terminals stop a task end it in order, as Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU)
"""SIGXCPU comes where a process has used the processor time that it may (ulimit -t)."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end by a signal. Whatever tidies up after Ctrl-C does so here."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)

    @property
    def code(self) -> int:
        """The exit code of a process that the signal ends, as shells count it."""
        return 128 + self.signal


@contextmanager
def raised_on_signals(*, last: bool = False) -> Iterator[None]:
    """Within, SIGTERM, SIGHUP and SIGXCPU raise `Terminated` where the program is; once, then all
    are ignored. One that is ignored already, as SIGHUP by nohup, stays so.

    last: the process ends afterwards, which takes libraries a moment: the usual signals are ignored
        from then on, so that what is done does not count as stopped

    Outside the main thread, where Python allows no handlers, nothing changes.
    """
    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number in _ENDING:
                before = signal.getsignal(number)
                if before == signal.SIG_IGN:
                    continue
                signal.signal(number, _raise)
                before = before if before is not None else signal.SIG_DFL
                stack.callback(signal.signal, number, signal.SIG_IGN if last else before)
            if last:
                stack.callback(signal.signal, signal.SIGINT, signal.SIG_IGN)
        yield


def _raise(number: int, frame: FrameType | None) -> None:
    # Queues repeat the signal; a second one must not cut the tidying short.
    for ending in _ENDING:
        signal.signal(ending, signal.SIG_IGN)
    raise Terminated(number)
