"""Pieces of Markdown that the parts of the page share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is to the left, the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def origin(part: dict[str, Any]) -> str:
    """When and on what a part was measured."""
    how = part["made"]
    return (
        f"Measured {how['date']} with torch {how['torch']} on a {how['machine']} machine with "
        f"{how['cores']} processor cores ({how['capability']}), no GPU, one thread."
    )
