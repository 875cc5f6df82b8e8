"""The errors of this package."""

from __future__ import annotations


class TemporalError(ValueError):
    """Windows, chunk sizes or a memory budget that cannot work; names the nearest that does."""


class MemoryBudgetError(TemporalError):
    """A memory budget in which nothing runs; names the nearest one that is enough."""
