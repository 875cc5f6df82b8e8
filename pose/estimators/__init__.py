"""Pose estimators behind one protocol, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pose.errors import PoseError

if TYPE_CHECKING:
    from pose.estimators.base import Estimator

NAMES = ("blazepose",)


def load_estimator(name: str = "blazepose", **options: Any) -> Estimator:
    """Open the estimator `name`, importing only what it needs.

    `options` are those of the chosen one; an unknown name or option raises PoseError.
    """
    loaders: dict[str, Callable[..., Estimator]] = {"blazepose": _blazepose}
    if name not in loaders:
        raise PoseError(f"Unknown pose estimator {name!r}; choose one of {', '.join(NAMES)}.")
    return loaders[name](**options)


def _blazepose(**options: Any) -> Estimator:
    from pose.estimators.blazepose.estimator import BlazePose, BlazePoseOptions

    return BlazePose(BlazePoseOptions(**options))
