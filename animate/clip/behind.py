"""Two stages side by side: one makes items, the other takes them, and few lie in between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Queue
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")


class Behind(Generic[Item]):
    """Gives items to `take` in a thread of its own, in order, as a context manager.

    At most `depth` items wait; whoever puts another one then waits as well. At a clean exit all
    have been taken. An error of `take` is raised by the next `put`, or at the exit, once; what
    still waits is then dropped. An error in the `with` block drops what waits and passes through.
    """

    def __init__(self, take: Callable[[Item], None], *, depth: int, name: str = "behind") -> None:
        self._take = take
        self._waiting: Queue[tuple[Item] | None] = Queue(max(1, depth))
        self._stopped = False
        self._error: BaseException | None = None
        # A daemon, so that a second Ctrl-C while the exit waits for it ends the process.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def put(self, item: Item) -> None:
        """Hand over an item; waits while `depth` others do. Raises what `take` has raised."""
        self._complain()
        self._waiting.put((item,))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped = kind is not None
        self._waiting.put(None)
        self._thread.join()
        if kind is None:
            self._complain()

    def _complain(self) -> None:
        if self._error is not None:
            self._stopped = True
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error  # or it holds this frame, and through it what the items were made of

    def _work(self) -> None:
        # It goes on taking items out after an error: nobody must wait at a full queue for ever.
        while (entry := self._waiting.get()) is not None:
            if self._stopped or self._error is not None:
                continue
            try:
                self._take(*entry)
            except BaseException as error:
                self._error = error
