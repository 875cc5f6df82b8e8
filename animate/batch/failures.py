"""What went wrong with one job: its kind, in words, and whether trying again can help.

========================  ======================================================  =========
kind                      what it means                                           retried
========================  ======================================================  =========
request                   a setting that cannot be used                           no
missing-file              an input that is not there                              no
media                     a video, image or output that cannot be read or written no
pose                      nobody was seen, or poses that do not fit               no
model                     a model that is missing, damaged or does not fit        no
memory                    nothing fits in the memory that may be used             no
time-limit                the job took longer than it may                         no
fault                     a fault of the program                                  no
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
from typing import Literal

from animate.errors import MediaError, ModelError, RequestError, UserError

Kind = Literal[
    "request",
    "missing-file",
    "media",
    "pose",
    "model",
    "memory",
    "time-limit",
    "fault",
    "out-of-memory",
    "io",
    "worker-died",
    "worker-start",
]

USER_KINDS: tuple[Kind, ...] = ("request", "missing-file", "media", "pose", "model", "memory")

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
    """Why an attempt at a job failed.

    Attributes:
        kind: one word for filters and counts; see this file's table.
        message: what was wrong and what to do, for people.
        passing: whether the same job may well succeed when it is tried again.
        trace: where it happened, for faults of the program; empty for a user's mistake.
    """

    kind: Kind
    message: str
    passing: bool = False
    trace: str = ""


def failure_of(error: BaseException) -> Failure:
    """The failure that an exception means."""
    passing = _passing(error)
    kind = _kind(error, passing)
    mistake = kind in USER_KINDS or kind == "io"
    trace = "" if mistake else "".join(traceback.format_exception(error))
    words = str(error) or "no message"
    message = words if mistake or kind == "out-of-memory" else f"{type(error).__name__}: {words}"
    return Failure(
        kind=kind, message=message, passing=passing or kind == "out-of-memory", trace=trace
    )


def _kind(error: BaseException, passing: bool) -> Kind:
    if _out_of_memory(error):
        return "out-of-memory"
    if passing:
        return "io"
    for kind, types in _types().items():
        if isinstance(error, types):
            return kind
    return "io" if isinstance(error, OSError) else "fault"


def _types() -> dict[Kind, tuple[type[BaseException], ...]]:
    from pose.errors import PoseError
    from temporal.errors import TemporalError

    return {
        "media": (MediaError,),
        "pose": (PoseError,),
        "model": (ModelError,),
        "memory": (TemporalError,),
        "request": (RequestError, UserError),
    }


def _out_of_memory(error: BaseException) -> bool:
    """Also torch's own, by name: this file is read where torch is not."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, MemoryError) or "OutOfMemoryError" in names:
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error).lower()


def _passing(error: BaseException) -> bool:
    """Whether the operating system's answer, here or further down, is one that passes."""
    return any(isinstance(e, OSError) and e.errno in _PASSING for e in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__
