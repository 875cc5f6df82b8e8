"""Texts that many messages need, each written in one way: lists, times, names, values."""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any

_LONGEST_NAME = 64
"""Characters; a longer text is no misspelt name, and comparing it would take long."""
_LONGEST_VALUE = 160
"""Characters of a value that a message shows."""


def nearest(name: str, known: Collection[str]) -> str:
    """`; did you mean ...?` for a misspelt name, or an empty string."""
    if len(name) > _LONGEST_NAME:
        return ""
    import difflib

    close = difflib.get_close_matches(name, sorted(known))
    close.sort(key=lambda word: sorted(word) != sorted(name))  # letters in another order go first
    return f"; did you mean {close[0]!r}?" if close else ""


def listed(items: Sequence[object], most: int = 3, separator: str = ", ") -> str:
    """The first items and, where there are others, `and N more`."""
    text = separator.join(str(item) for item in items[:most])
    before = "\n  " if "\n" in separator else " "
    return text + (f"{before}and {len(items) - most} more" if len(items) > most else "")


def spans(numbers: Iterable[int], most: int = 6) -> str:
    """Rising numbers, those that follow each other as one span: `0 to 7, 12, and 3 more`."""
    found: list[list[int]] = []
    for number in map(int, numbers):
        if found and number == found[-1][-1] + 1:
            found[-1] = [found[-1][0], number]
        else:
            found.append([number])
    return listed([" to ".join(map(str, span)) for span in found], most)


class _Bounded(reprlib.Repr):
    """`repr` of bounded length, however large or deeply nested the value is."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 3, 100, 100, 60


def quoted(value: Any) -> str:
    """A value for a message: as Python writes it, cut where it is long; printable anywhere."""
    try:
        text = _Bounded().repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        text = f"a number of type {type(value).__name__}"
    text = text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
    return text.encode(errors="backslashreplace").decode()
