"""Kinds of failures of jobs, and which of them another attempt may mend.

========================  ======================================================  =========
kind                      what it means                                           retried
========================  ======================================================  =========
request                   a setting that cannot be used                           no
missing-file              an input that is not there                              no
media                     a video, image or output that cannot be read or written no
pose                      nobody was seen, or poses that do not fit               no
model                     a model that is missing, damaged or does not fit        no
memory                    nothing fits in the memory that may be used             no
windows                   windows, overlaps or schedules that do not go together  no
work                      a work folder that cannot be used                       no
workers                   workers of a clip that are missing or were lost         no
not-finite                a network gave numbers that are not finite              no
time-limit                the job took longer than it may                         no
fault                     a fault of the program                                  no
busy                      another process makes this clip                         yes
out-of-memory             memory ran out                                          yes
io                        the operating system failed to read or write            if passing
worker-died               the worker's process ended in the middle of the job     yes
worker-start              a worker could not be started                           yes
========================  ======================================================  =========
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from animate.errors import (
    BusyError,
    ExecutorError,
    MediaError,
    ModelError,
    NotFiniteError,
    UserError,
    WorkError,
    ran_out_of_memory,
)

UserKind = Literal[
    "request",
    "missing-file",
    "media",
    "pose",
    "model",
    "memory",
    "windows",
    "work",
    "workers",
    "not-finite",
]
Kind = Literal[
    UserKind,
    "time-limit",
    "fault",
    "busy",
    "out-of-memory",
    "io",
    "worker-died",
    "worker-start",
]

USER_KINDS: frozenset[Kind] = frozenset(get_args(UserKind))
"""Kinds that are mended by another input, setting or machine, and that have no trace."""

# Network file systems and crowded disks answer so and mean "later"; a full disk is not among them.
_PASSING = frozenset(
    getattr(errno, name)
    for name in (
        "EIO", "EAGAIN", "EINTR", "EBUSY", "ESTALE", "ETIMEDOUT", "ECONNRESET", "ECONNABORTED",
        "ENETDOWN", "ENETUNREACH", "ENETRESET", "EHOSTDOWN", "EHOSTUNREACH", "EREMOTEIO", "ENFILE",
        "EMFILE", "ENOLCK",
    )
    if hasattr(errno, name)
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why an attempt at a job failed."""

    kind: Kind
    """One word for filters and counts; see this file's table."""
    message: str
    """The fault and the way out, for people."""
    passing: bool = False
    """Another attempt at the same job may well succeed."""
    trace: str = ""
    """Traceback of a fault of the program; empty for a user's mistake."""


def failure_of(error: BaseException) -> Failure:
    """The failure that an exception means."""
    passing = _passes(error)
    kind = _kind(error, passing)
    expected = kind in USER_KINDS or kind in ("io", "busy")
    trace = "" if expected else "".join(traceback.format_exception(error))
    text = str(error) or "no message"
    if not expected and kind != "out-of-memory":
        text = f"{type(error).__name__}: {text}"
    return Failure(
        kind=kind,
        message=text,
        passing=passing or kind in ("out-of-memory", "busy"),
        trace=trace,
    )


def _kind(error: BaseException, passing: bool) -> Kind:
    if isinstance(error, BusyError):
        return "busy"
    if ran_out_of_memory(error):
        return "out-of-memory"
    if passing:
        return "io"
    for kind, error_type in _error_types():
        if isinstance(error, error_type):
            return kind
    return "io" if isinstance(error, OSError) else "fault"


@cache
def _error_types() -> tuple[tuple[Kind, type[BaseException]], ...]:
    """Kinds with their exceptions, the special before the general."""
    from pose.errors import PoseError
    from temporal.errors import MemoryBudgetError, TemporalError

    return (
        ("media", MediaError),
        ("pose", PoseError),
        ("model", ModelError),
        ("memory", MemoryBudgetError),
        ("windows", TemporalError),
        ("work", WorkError),
        ("workers", ExecutorError),
        ("not-finite", NotFiniteError),
        ("request", UserError),
    )


def _passes(error: BaseException) -> bool:
    """True where an answer of the operating system, here or further down, is one that passes."""
    return any(isinstance(e, OSError) and e.errno in _PASSING for e in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    visited: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in visited:
        visited.add(id(link))
        yield link
        link = link.__cause__ or link.__context__
