"""Tests of things that not every checkout has, which are no test at all without them.

What a machine could have and lacks (a GPU, a right, a program) is skipped with its reason instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Test = Callable[..., Any]


def collected_if(condition: bool) -> Callable[[Test], Test | None]:
    """A decorator that leaves a test out of the collection where the condition does not hold."""
    return lambda test: test if condition else None
