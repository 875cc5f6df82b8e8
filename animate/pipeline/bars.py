"""Progress of a pipeline: bars of tqdm, and a watch on a stage's steps."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from animate.progress import Course, Progress, Stage

_LOG = "animate.pipeline"
"""Logger of remarks and warnings."""


class TqdmBars:
    """A bar for each stage of several steps; remarks go to the log."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """`settings` as tqdm takes them."""
        self._settings = settings

    def expect(self, course: Course) -> None:
        """Do nothing: each bar tells the time left of its own stage."""

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Stage]:
        """A bar of this name."""
        from tqdm import tqdm

        single = total is None or total < 2
        with tqdm(**{"desc": name, "total": total, "disable": single, **self._settings}) as bar:
            yield _Bar(bar)

    def note(self, text: str) -> None:
        """Put a remark into the log."""
        logging.getLogger(_LOG).info(text)

    def warn(self, text: str) -> None:
        """Put a warning into the log."""
        logging.getLogger(_LOG).warning(text)


class _Bar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def advance(self, steps: int = 1) -> None:
        self._bar.update(steps)

    def skip(self, steps: int = 1) -> None:
        self._bar.initial += steps  # by which tqdm tells steps that took no time
        self._bar.update(steps)


class Watched:
    """Passes everything on, and calls `look` after each step of the stage called `name`."""

    def __init__(self, sink: Progress, name: str, look: Callable[[], None]) -> None:
        self._sink, self._name, self._look = sink, name, look

    def expect(self, course: Course) -> None:
        """Pass a course on."""
        self._sink.expect(course)

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Stage]:
        """The sink's stage, watched where it is the one."""
        with self._sink.stage(name, total) as stage:
            yield _Looked(stage, self._look) if name == self._name else stage

    def note(self, text: str) -> None:
        """Pass a remark on."""
        self._sink.note(text)

    def warn(self, text: str) -> None:
        """Pass a warning on."""
        self._sink.warn(text)


class _Looked:
    def __init__(self, stage: Stage, look: Callable[[], None]) -> None:
        self._stage, self._look = stage, look

    def advance(self, steps: int = 1) -> None:
        self._stage.advance(steps)
        self._look()

    def skip(self, steps: int = 1) -> None:
        self._stage.skip(steps)
        self._look()
