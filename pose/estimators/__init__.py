"""Pose estimators behind one protocol, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

from pose.errors import PoseError
from pose.kinds import EstimatorName

if TYPE_CHECKING:
    from pose.estimators.base import Estimator

NAMES: tuple[EstimatorName, ...] = get_args(EstimatorName)


def load_estimator(name: str = "blazepose", **options: Any) -> Estimator:
    """Open the estimator `name`, importing only what it needs.

    Args:
        name: "blazepose" (embedded, the default), "dwpose" (from ONNX files) or
            "controlnet-aux" (with its own stack installed).
        options: the fields of `BlazePoseOptions`, `DWPoseOptions` or `ControlNetAuxOptions`.

    Raises PoseError for an unknown name or option, missing or wrong files, or a device or library
    that is not there.
    """
    if name not in NAMES:
        raise PoseError(f"unknown pose estimator {name!r}; choose one of {', '.join(NAMES)}")
    estimator, schema = _opened(name)
    known = [field.name for field in dataclasses.fields(schema)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise PoseError(
            f"the estimator {name} has no option {', '.join(unknown)}; it has {', '.join(known)}"
        )
    return estimator(schema(**options))


def _opened(name: str) -> tuple[Callable[[Any], Estimator], Any]:
    """The estimator's class and its options' class, imported now."""
    if name == "dwpose":
        from pose.estimators.dwpose import DWPose, DWPoseOptions

        return DWPose, DWPoseOptions
    if name == "controlnet-aux":
        from pose.estimators.controlnet_aux import ControlNetAux, ControlNetAuxOptions

        return ControlNetAux, ControlNetAuxOptions
    from pose.estimators.blazepose.estimator import BlazePose, BlazePoseOptions

    return BlazePose, BlazePoseOptions
