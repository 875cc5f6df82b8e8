"""Encoders compute as urgently as the program that calls them, not more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_THREADS = Path("/proc/self/task")


@contextmanager
def usual_urgency() -> Iterator[None]:
    """Open an encoder in the block: its threads and this one keep this thread's scheduling.

    SVT-AV1, run by root, gives its threads and the one that opens it the highest real-time
    priority, for ever. Processes that are started later inherit it, and one that computes then
    takes its processor from everything else, the system included.
    """
    if not _THREADS.is_dir():  # only Linux has such priorities
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    before = {thread.name for thread in _THREADS.iterdir()}
    try:
        yield
    finally:
        opened = [int(thread.name) for thread in _THREADS.iterdir() if thread.name not in before]
        for thread in (0, *opened):
            # A thread may have ended meanwhile, and who may not set a priority was given none.
            with suppress(OSError):
                if os.sched_getscheduler(thread) != policy:
                    os.sched_setscheduler(thread, policy, parameters)
