"""News for open pages: each gets the newest state of every topic, however slow it is."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import suppress

_SILENCE_SECONDS = 10.0
"""Time after which a comment keeps a silent connection open."""


class Hub:
    """Publishes states by topic to any number of listeners, from any thread.

    A listener holds one message a topic: what it has not taken yet is replaced by what is newer.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: set[_Listener] = set()
        self._closed = False

    def publish(self, topic: str, state: object) -> None:
        """Give everybody the state of a topic: plain JSON values."""
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener.offer(topic, state)

    async def listen(self) -> AsyncIterator[str]:
        """Server-sent events until the hub is closed."""
        listener = _Listener(asyncio.get_running_loop())
        with self._lock:
            self._listeners.add(listener)
        try:
            yield "retry: 1000\n\n"
            while not self._closed:
                for topic, state in await listener.take(_SILENCE_SECONDS):
                    yield f"event: {topic}\ndata: {json.dumps(state, ensure_ascii=False)}\n\n"
                yield ": still here\n\n"
        finally:
            with self._lock:
                self._listeners.discard(listener)

    def close(self) -> None:
        """End every connection."""
        self._closed = True
        self.publish("closed", {})


class _Listener:
    """One connection's undelivered states."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._states: dict[str, object] = {}
        self._news = asyncio.Event()

    def offer(self, topic: str, state: object) -> None:
        with self._lock:
            self._states[topic] = state
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._news.set)

    async def take(self, patience: float) -> list[tuple[str, object]]:
        """All undelivered states, after `patience` seconds perhaps none."""
        try:
            await asyncio.wait_for(self._news.wait(), patience)
        except TimeoutError:
            return []
        with self._lock:
            self._news.clear()
            states, self._states = self._states, {}
        return list(states.items())
