"""A network's forward in pieces: less memory, the same result.

`Chunks` says how fine, `chunked` is the context manager; nothing is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from temporal.chunked.chunks import Chunks
    from temporal.chunked.context import chunked

__all__ = ["Chunks", "chunked"]


def __getattr__(name: str) -> Any:
    if name == "Chunks":
        from temporal.chunked.chunks import Chunks

        return Chunks
    if name == "chunked":
        from temporal.chunked.context import chunked

        return chunked
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
