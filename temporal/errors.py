"""The one error of this package."""

from __future__ import annotations


class TemporalError(ValueError):
    """Windows, chunk sizes or a memory budget that cannot work; names the nearest that does."""
