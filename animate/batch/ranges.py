"""Numbers as farms write them: `A-BxN` is every N-th from A to B, both ends included."""

from __future__ import annotations

import re
from collections.abc import Iterable

from animate.errors import RequestError

_PART = re.compile(r"(\d+)(?:-(\d+)(?:x(\d+))?)?")
_MOST = 1_000_000


def parse_ranges(text: str) -> tuple[int, ...]:
    """The numbers, rising and each once: `1-10x3,20` is 1, 4, 7, 10, 20.

    Numbers begin at 1. Raises RequestError with an example.
    """
    numbers: set[int] = set()
    for part in str(text).split(","):
        match = _PART.fullmatch(part.strip())
        if not match:
            raise RequestError(
                f"range {text!r} is not A-B, A-BxN or a list of them, such as 1-20x5"
            )
        first = int(match[1])
        last, step = int(match[2] or first), int(match[3] or 1)
        if first < 1:
            raise RequestError(f"range {part.strip()!r} begins below 1; numbers begin at 1")
        if last < first or step < 1:
            raise RequestError(
                f"range {part.strip()!r} holds nothing: give A-BxN with A <= B, N >= 1"
            )
        if last > _MOST:
            raise RequestError(f"range {part.strip()!r} goes beyond {_MOST}")
        numbers.update(range(first, last + 1, step))
    return tuple(sorted(numbers))


def format_ranges(numbers: Iterable[int]) -> str:
    """The shortest such text by runs of one step, from low to high; `parse_ranges` reads it back.

    Raises RequestError for no numbers.
    """
    left = sorted(set(numbers))
    if not left:
        raise RequestError("there are no numbers to write as a range")
    parts = []
    while left:
        run = _run(left)
        if len(run) == 2 and run[1] - run[0] > 1:
            run = run[:1]  # two far ones are shorter as themselves
        parts.append(_text(run))
        left = left[len(run) :]
    return ",".join(parts)


def _run(numbers: list[int]) -> list[int]:
    """The longest beginning with equal steps."""
    if len(numbers) == 1:
        return numbers
    step = numbers[1] - numbers[0]
    count = 2
    while count < len(numbers) and numbers[count] - numbers[count - 1] == step:
        count += 1
    return numbers[:count]


def _text(run: list[int]) -> str:
    if len(run) == 1:
        return str(run[0])
    step = run[1] - run[0]
    return f"{run[0]}-{run[-1]}" + (f"x{step}" if step > 1 else "")
