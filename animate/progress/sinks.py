"""Progress for people, programs and farms: one protocol, and the ways to show it.

A stage is opened with its number of steps (None when nobody can know) and advanced; the sink
decides what is seen. Nothing here touches the work itself.

The time left is that of the whole clip: of the stage that runs, and of those that follow it by the
course that the clip is expected to take (`animate.progress.course`).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import IO, Any, Protocol

from animate.progress.course import USUAL, Course, Position

_LEAST = 0.25
"""Part of a stage that a run must have done itself for its pace to be kept."""


class Stage(Protocol):
    """One open stage."""

    def advance(self, steps: int = 1) -> None:
        """Report `steps` more finished steps."""

    def skip(self, steps: int = 1) -> None:
        """Count `steps` that an earlier run has finished: they tell nothing of the pace."""


class Progress(Protocol):
    """A sink of stages and remarks."""

    def expect(self, course: Course) -> None:
        """Take the course of the clip whose stages follow."""

    def stage(self, name: str, total: int | None) -> AbstractContextManager[Stage]:
        """Context manager giving a Stage; `total` steps, or None if unknown."""

    def note(self, text: str) -> None:
        """A remark that a person should see."""

    def warn(self, text: str) -> None:
        """A remark that a person should act on."""


class Sink:
    """Base of sinks that show a clip's stages by its course."""

    course: Course = USUAL

    def expect(self, course: Course) -> None:
        """Take the course of the clip whose stages follow."""
        self.course = course


class Quiet(Sink):
    """Says nothing: for Python callers and `--quiet`."""

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Stage]:
        yield _Counter(name, total, self, lambda counter: None)

    def note(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass


class Remembering:
    """Passes everything on, and keeps the warnings and the pace of finished stages."""

    def __init__(self, sink: Progress) -> None:
        self._sink = sink
        self.warnings: list[str] = []
        self.paces: dict[str, float] = {}
        """Seconds a step of each stage of known length, by its name; steps of earlier runs count in
        none of them."""

    def expect(self, course: Course) -> None:
        self._sink.expect(course)

    def stage(self, name: str, total: int | None) -> AbstractContextManager[Stage]:
        return self._timed(name, total)

    @contextmanager
    def _timed(self, name: str, total: int | None) -> Iterator[Stage]:
        with self._sink.stage(name, total) as stage:
            timed = _Timed(stage)
            yield timed
        if total and total - timed.skipped >= _LEAST * total:
            self.paces[name] = (time.monotonic() - timed.began) / (total - timed.skipped)

    def note(self, text: str) -> None:
        self._sink.note(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self._sink.warn(text)


_CONTROLS = {
    number: f"\\x{number:02x}"
    for number in (*range(32), *range(127, 160))
    if chr(number) not in "\n\t"
}
"""Characters by which a text could move a terminal's cursor, or worse."""


def printable(text: str) -> str:
    """The text with control characters, which names of files may have, written out."""
    return text.translate(_CONTROLS)


class _Timed:
    """A stage, with the moment at which its own steps began."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.began, self.skipped = time.monotonic(), 0

    def advance(self, steps: int = 1) -> None:
        self._stage.advance(steps)

    def skip(self, steps: int = 1) -> None:
        self.began, self.skipped = time.monotonic(), self.skipped + steps
        self._stage.skip(steps)


def say(text: str, stream: IO[str] | None) -> None:
    """Print a line at once. A stream that is closed, or on a full disk, is given up without a word:
    no work is lost for want of somebody to tell."""
    if stream is None:
        return
    try:
        print(printable(text), file=stream, flush=True)
    except (OSError, ValueError):
        give_up(stream)


def give_up(stream: IO[str]) -> None:
    """Let a stream lead nowhere, so that the text it still holds does not fail at the exit."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)


class _Counter:
    """Counts steps, and calls `show` at most every `interval` seconds."""

    def __init__(
        self,
        name: str,
        total: int | None,
        sink: Sink,
        show: Callable[[_Counter], None],
        interval: float = 0.0,
    ) -> None:
        self.total, self.done, self.skipped = total, 0, 0
        self.began = self._worked_from = time.monotonic()
        self._name, self._sink = name, sink
        self._show, self._interval, self._last = show, interval, self.began

    def advance(self, steps: int = 1) -> None:
        self.done += steps
        now = time.monotonic()
        if now - self._last >= self._interval:
            self._last = now
            self._show(self)

    def skip(self, steps: int = 1) -> None:
        self.skipped, self._worked_from = self.skipped + steps, time.monotonic()
        self.advance(steps)

    @property
    def elapsed(self) -> float:
        """Seconds since the stage was opened."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float | None:
        """Seconds left of the stage, None while nobody can know."""
        return self._sink.course.stage_left(self._position)

    @property
    def left_of_run(self) -> float | None:
        """Seconds left of the whole clip, or of the stage alone where it is none of a clip's; None
        while nobody can know."""
        return self._sink.course.left(self._position)

    @property
    def _position(self) -> Position:
        return Position(
            stage=self._name,
            done=self.done,
            total=self.total,
            skipped=self.skipped,
            elapsed=time.monotonic() - self._worked_from,
        )


def left_text(seconds: float | None) -> str:
    """The time left, for people; empty while nobody can know."""
    return "" if seconds is None else f"{clock_text(seconds)} left"


def clock_text(seconds: float) -> str:
    """`0.42 s`, `4.2 s`, `42 s`, `4:20 min` or `1:05 h`."""
    if seconds < 59.5:
        decimals = 2 if seconds < 1 else 1 if seconds < 10 else 0
        return f"{seconds:.{decimals}f} s"
    minutes, remainder = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{remainder:02} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02} h"


class Lines(Sink):
    """Plain lines for logs and pipes: one at a stage's end, and every few seconds within it."""

    def __init__(self, stream: IO[str] | None = None, interval: float = 10.0) -> None:
        self._stream, self._interval = stream, interval

    def _say(self, text: str) -> None:
        say(text, self._stream or sys.stderr)

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Stage]:
        def show(counter: _Counter) -> None:
            left = left_text(counter.left_of_run)
            self._say(f"{name}: {counter.done}/{total or '?'}{', ' if left else ''}{left}")

        counter = _Counter(name, total, self, show, self._interval)
        yield counter
        self._say(f"{name}: done in {counter.elapsed:.1f} s")

    def note(self, text: str) -> None:
        self._say(text)

    def warn(self, text: str) -> None:
        self._say(f"warning: {text}")


class JsonLines(Sink):
    """One JSON object a line on standard output, for programs.

    Events: `stage` with name, done, total, seconds_left (of the stage) and run_seconds_left (of the
    whole clip); `note`; `warning`; and whatever `event` is called with.
    """

    def __init__(self, stream: IO[str] | None = None, interval: float = 0.25) -> None:
        self._stream, self._interval = stream, interval

    def event(self, kind: str, **values: Any) -> None:
        """Write one object: `event` is its kind."""
        say(json.dumps({"event": kind, **values}), self._stream or sys.stdout)

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Stage]:
        def show(counter: _Counter) -> None:
            self.event(
                "stage",
                name=name,
                done=counter.done,
                total=total,
                seconds_left=_rounded(counter.left),
                run_seconds_left=_rounded(counter.left_of_run),
            )

        counter = _Counter(name, total, self, show, self._interval)
        show(counter)
        yield counter
        show(counter)

    def note(self, text: str) -> None:
        self.event("note", text=text)

    def warn(self, text: str) -> None:
        self.event("warning", text=text)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


class Bars(Sink):
    """Bars with the time left of the whole clip, on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Stage]:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        columns = (
            TextColumn("{task.description:<18}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        with Progress(*columns, console=self._console) as bars:
            task = bars.add_task(name, total=total, left="")

            def show(counter: _Counter) -> None:
                left = left_text(counter.left_of_run)
                bars.update(task, completed=counter.done, left=left)

            counter = _Counter(name, total, self, show, 0.05)
            yield counter
            bars.update(task, completed=counter.done, total=counter.done, left="")

    def note(self, text: str) -> None:
        self._console.print(printable(text), markup=False, highlight=False)

    def warn(self, text: str) -> None:
        from rich.markup import escape

        self._console.print(f"[yellow]warning:[/yellow] {escape(printable(text))}", highlight=False)
