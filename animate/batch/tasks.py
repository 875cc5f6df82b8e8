"""Tasks and reports as they travel between a batch and its workers, and the worker that makes them.

A worker makes jobs of any kind (`animate.batch.kinds`), and keeps what is loaded from one to the
next of the same kind.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol

from typing_extensions import TypeVar

from animate.batch.executor import Send
from animate.batch.failures import Failure
from animate.batch.records import JobOutcome, Request
from animate.batch.staging import JobFiles
from animate.clip.fingerprint import FileDigests
from animate.progress import Course, Stage
from animate.request.request import AnimationRequest

Asked = TypeVar("Asked", bound=Request, covariant=True, default=AnimationRequest)


@dataclass(frozen=True, kw_only=True)
class ClipTask(Generic[Asked]):
    """One job, as it travels to a worker: a clip to make, or stills."""

    request: Asked
    digests: FileDigests = field(default_factory=FileDigests)
    """Digests of inputs that were read already."""
    pictures: bool = True
    """Small pictures for a report are wanted."""
    previews: bool = False
    """Pictures of the unfinished clip are sent, as `PreviewMessage`s."""
    files: JobFiles | None = None
    """Files that lie in a store; None where all are here."""
    anew: bool = False
    """Parts that an earlier run has finished are made again too."""


@dataclass(frozen=True, kw_only=True)
class ClipReport(JobOutcome):
    """A worker's account of one job: what it made, or the failure."""

    failure: Failure | None = None
    """The reason why there is no clip."""


@dataclass(frozen=True, kw_only=True)
class StageMessage:
    """Progress of a clip, as it travels from a worker."""

    event: Literal["begin", "advance", "skip", "end"]
    stage: str
    steps: int | None = None
    """Units of the stage in all for `begin`, None if unknown; units finished now for `advance`, and
    by an earlier run for `skip`."""


@dataclass(frozen=True, kw_only=True)
class CourseMessage:
    """The course that a clip is expected to take, as it travels from a worker."""

    course: Course


@dataclass(frozen=True, kw_only=True)
class PreviewMessage:
    """A picture of an unfinished clip, as it travels from a worker."""

    jpeg: bytes
    step: int
    """Steps that were done."""


class Maker(Protocol):
    """Makes jobs of one kind, and keeps what is loaded from one to the next."""

    def __call__(self, payload: Any, send: Send) -> ClipReport:
        """Do a `ClipTask`; whatever goes wrong is in the report."""

    def close(self) -> None:
        """Give back what is loaded."""


def device_of(worker: int, device: str) -> str:
    """The device of a worker: a GPU of its own where there are several and none is named."""
    if device != "auto":
        return device
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return f"cuda:{worker % count}" if count > 1 else "auto"


class Relay:
    """Progress that goes to whoever listens to the worker, as `StageMessage`s and
    `CourseMessage`s."""

    def __init__(self, send: Send, interval: float = 0.5) -> None:
        """Steps are gathered for `interval` seconds, so that messages cost nothing."""
        self._send, self._interval = send, interval

    def expect(self, course: Course) -> None:
        self._send(CourseMessage(course=course))

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Stage]:
        self._send(StageMessage(event="begin", stage=name, steps=total))
        steps = _Steps(name, self._send, self._interval)
        try:
            yield steps
        finally:
            steps.flush()
            self._send(StageMessage(event="end", stage=name))

    def note(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass  # the result has them


class _Steps:
    def __init__(self, stage: str, send: Send, interval: float) -> None:
        self._stage, self._send, self._interval = stage, send, interval
        self._gathered, self._sent = 0, time.monotonic()

    def advance(self, steps: int = 1) -> None:
        self._gathered += steps
        if time.monotonic() - self._sent >= self._interval:
            self.flush()

    def skip(self, steps: int = 1) -> None:
        self.flush()
        self._send(StageMessage(event="skip", stage=self._stage, steps=steps))

    def flush(self) -> None:
        if self._gathered:
            self._send(StageMessage(event="advance", stage=self._stage, steps=self._gathered))
        self._gathered, self._sent = 0, time.monotonic()


def forget_peaks() -> None:
    """Let the peaks begin anew, so that they are this clip's and not an earlier one's."""
    with suppress(OSError):  # not Linux, or not allowed: the process's own peak stays
        Path("/proc/self/clear_refs").write_text("5")
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_host() -> int:
    """The most resident memory since `forget_peaks`."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    from animate.clip.clock import peak_host_bytes

    return peak_host_bytes()
