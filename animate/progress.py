"""Progress for people, programs and farms: one protocol, and the ways to show it.

A stage is opened with its number of steps (None when nobody can know) and advanced; the sink
decides what is seen. Nothing here touches the work itself.

The time left is that of the whole clip, from the pace of the stage that runs and the stages' fixed
shares (`SHARES`): poses, encoding, denoising, and decoding with all that is done to frames after
it. A farm wants one number for the task, not a bar for each stage; a stage that is opened within
another (a clip of a batch) is a part of that one's next step. The number never falls.

==========  ==============================================================================
openjd      ``openjd_progress: 42``, ``openjd_status: denoise``, ``openjd_fail: ...``
            (Open Job Description, "How Jobs Are Run": messages on standard output)
deadline    ``Progress: 42%`` (what its stock command line plug-in looks for)
alf         ``ALF_PROGRESS 42%`` (Tractor, and whatever else speaks Alfred)
==========  ==============================================================================
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, Protocol


class Stage(Protocol):
    """One open stage."""

    def advance(self, steps: int = 1) -> None:
        """Report `steps` more finished steps."""


class Progress(Protocol):
    """A sink of stages and remarks."""

    def stage(self, name: str, total: int | None) -> AbstractContextManager[Stage]:
        """Context manager giving a Stage; `total` steps, or None if unknown."""

    def note(self, text: str) -> None:
        """A remark that a person should see."""

    def warn(self, text: str) -> None:
        """A remark that a person should act on."""


class Quiet:
    """Says nothing: for Python callers and `--quiet`."""

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Stage]:
        yield _Counter(total, lambda counter: None)

    def note(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass


class Remembering:
    """Passes everything on, and keeps the warnings."""

    def __init__(self, sink: Progress) -> None:
        self._sink = sink
        self.warnings: list[str] = []

    def stage(self, name: str, total: int | None) -> AbstractContextManager[Stage]:
        return self._sink.stage(name, total)

    def note(self, text: str) -> None:
        self._sink.note(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self._sink.warn(text)


def say(text: str, stream: IO[str] | None) -> None:
    """Print a line at once. A stream that is closed, or on a full disk, is given up without a word:
    no work is lost for want of somebody to tell."""
    if stream is None:
        return
    try:
        print(text, file=stream, flush=True)
    except (OSError, ValueError):
        _give_up(stream)


def _give_up(stream: IO[str]) -> None:
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
        self, total: int | None, show: Callable[[_Counter], None], interval: float = 0.0
    ) -> None:
        self.total, self.done = total, 0
        self.began = time.monotonic()
        self._show, self._interval, self._last = show, interval, self.began

    def advance(self, steps: int = 1) -> None:
        self.done += steps
        now = time.monotonic()
        if now - self._last >= self._interval:
            self._last = now
            self._show(self)

    @property
    def elapsed(self) -> float:
        """Seconds since the stage was opened."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float | None:
        """Seconds left at the present pace, None while nobody can know."""
        if not self.done or not self.total:
            return None
        return self.elapsed / self.done * (self.total - self.done)

    def left_of_run(self, name: str) -> float | None:
        """Seconds left of the whole clip where the stage called `name` is one of its stages, and of
        the stage alone where it is not; None while nobody can know."""
        if self.left is None or name not in SHARES:
            return self.left
        first, last = SHARES[name]
        return self.left + (1.0 - last) * (self.elapsed + self.left) / (last - first)


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


class Lines:
    """Plain lines for logs and pipes: one at a stage's end, and every few seconds within it."""

    def __init__(self, stream: IO[str] | None = None, interval: float = 10.0) -> None:
        self._stream, self._interval = stream, interval

    def _say(self, text: str) -> None:
        say(text, self._stream or sys.stderr)

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Stage]:
        def show(counter: _Counter) -> None:
            left = left_text(counter.left_of_run(name))
            self._say(f"{name}: {counter.done}/{total or '?'}{', ' if left else ''}{left}")

        counter = _Counter(total, show, self._interval)
        yield counter
        self._say(f"{name}: done in {counter.elapsed:.1f} s")

    def note(self, text: str) -> None:
        self._say(text)

    def warn(self, text: str) -> None:
        self._say(f"warning: {text}")


class JsonLines:
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
                run_seconds_left=_rounded(counter.left_of_run(name)),
            )

        counter = _Counter(total, show, self._interval)
        show(counter)
        yield counter
        show(counter)

    def note(self, text: str) -> None:
        self.event("note", text=text)

    def warn(self, text: str) -> None:
        self.event("warning", text=text)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


class Bars:
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
                left = left_text(counter.left_of_run(name))
                bars.update(task, completed=counter.done, left=left)

            counter = _Counter(total, show, 0.05)
            yield counter
            bars.update(task, completed=counter.done, total=counter.done, left="")

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def warn(self, text: str) -> None:
        from rich.markup import escape

        self._console.print(f"[yellow]warning:[/yellow] {escape(text)}", highlight=False)


SHARES = {
    "restyle": (0.0, 0.05),
    "poses": (0.0, 0.1),
    "skeletons": (0.0, 0.1),
    "encode": (0.1, 0.11),
    "warp": (0.0, 0.11),
    "background": (0.1, 0.11),
    "denoise": (0.11, 0.9),
    "decode": (0.9, 1.0),
}
"""Part of a clip's progress that each stage is, from and to; denoising is nearly all of the work.
Any other stage is all that is left."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """Lines that a farm's queue looks for in the output."""

    progress: str
    """Line with `{percent}`, a whole number from 0 to 100."""
    status: str = ""
    """Line with `{text}` that says what is going on; empty if the farm knows none."""
    fail: str = ""
    """Line with `{text}` that says why the task failed; empty if the farm knows none."""


WORDS = {
    "openjd": Words(
        progress="openjd_progress: {percent}",
        status="openjd_status: {text}",
        fail="openjd_fail: {text}",
    ),
    "deadline": Words(progress="Progress: {percent}%"),
    "alf": Words(progress="ALF_PROGRESS {percent}%"),
}


class FarmLines(Lines):
    """The percent of the whole task on standard output, remarks on standard error."""

    def __init__(
        self, kind: str, out: IO[str] | None = None, remarks: IO[str] | None = None
    ) -> None:
        """`kind` is a key of `WORDS`."""
        super().__init__(remarks)
        self._words, self._out = WORDS[kind], out
        self._open: list[_Part] = []
        self._percent = -1

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Stage]:
        """A stage; within another one it is a part of that one's next step."""
        first = self._percent / 100 if not self._open and self._percent > 0 else 0.0
        part = _Part(self, SHARES.get(name, (first, 1.0)), total)
        self._open.append(part)
        if self._words.status:
            self._print(self._words.status.format(text=name))
        self.show()
        try:
            yield part
        except BaseException:
            self._open.remove(part)
            raise
        part.done, part.total = 1, 1
        self.show()
        self._open.remove(part)

    def fraction(self) -> float:
        """Part of the whole task that is done, in [0,1]."""
        value, width = 0.0, 1.0
        for part in self._open:
            first, last = part.share
            value += width * (first + (last - first) * part.fraction)
            width *= (last - first) / part.total if part.total else 0.0
        return min(1.0, value)

    def show(self) -> None:
        """Print the percent if it has risen."""
        percent = int(self.fraction() * 100 + 1e-9)
        if percent > self._percent:
            self._percent = percent
            self._print(self._words.progress.format(percent=percent))

    def _print(self, text: str) -> None:
        say(text, self._out or sys.stdout)


class _Part:
    """An open stage."""

    def __init__(self, lines: FarmLines, share: tuple[float, float], total: int | None) -> None:
        self.share, self.total, self.done = share, total, 0
        self._lines = lines

    @property
    def fraction(self) -> float:
        return min(1.0, self.done / self.total) if self.total else 0.0

    def advance(self, steps: int = 1) -> None:
        """Report `steps` more finished steps."""
        self.done += steps
        self._lines.show()


def failure_line(kind: str, text: str) -> str:
    """The line that tells the farm of this `kind` why a task failed; empty where it has none."""
    words = WORDS.get(kind)
    return words.fail.format(text=" ".join(text.split())) if words else ""


KINDS = ("auto", "plain", "json", "openjd", "deadline", "alf")
"""Ways to show progress that can be asked for by name."""


def choose_progress(*, quiet: bool = False, as_json: bool = False, kind: str = "auto") -> Progress:
    """The way that `kind` (one of `KINDS`) names: `auto` is bars on a terminal, lines elsewhere.

    `as_json` is the same as "json"; `quiet` shows nothing.
    """
    if quiet:
        return Quiet()
    if as_json or kind == "json":
        return JsonLines()
    if kind == "auto":
        return Bars() if sys.stderr is not None and sys.stderr.isatty() else Lines()
    if kind == "plain":
        return Lines()
    return FarmLines(kind)
