"""Progress in the words that a farm's queue looks for, and the choice of a way to show progress.

A farm wants one number for the task, not a bar for each stage; a stage that is opened within
another (a clip of a batch) is a part of that one's next step. The number never falls.

==========  ==============================================================================
openjd      ``openjd_progress: 42``, ``openjd_status: denoise``, ``openjd_fail: ...``
            (Open Job Description, "How Jobs Are Run": messages on standard output)
deadline    ``Progress: 42%`` (what its stock command line plug-in looks for)
alf         ``ALF_PROGRESS 42%`` (Tractor, and whatever else speaks Alfred)
==========  ==============================================================================
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from animate.progress.sinks import Bars, JsonLines, Lines, Progress, Quiet, Stage, say


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
        part = _Part(self, self.course.share(name) or (first, 1.0), total)
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

    def skip(self, steps: int = 1) -> None:
        """Count steps that an earlier run has finished."""
        self.advance(steps)


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
