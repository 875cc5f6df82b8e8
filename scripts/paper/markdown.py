"""Pieces of Markdown that the parts of the page share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scripts.paper.figures import Part


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is to the left, the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def origin(part: Part) -> str:
    """Date and machine of a part's measurement; empty for one that is not written yet."""
    how = part.made
    if how is None:
        return ""
    return (
        f"Measured {how.date} with torch {how.torch} on a {how.machine} machine with "
        f"{how.cores} processor cores ({how.capability}), no GPU, one thread."
    )
