"""The one error of this package."""

from __future__ import annotations


class PoseError(ValueError):
    """A pose, pose file, estimator or its input cannot be used; the message says what to do."""
