"""The words of estimators and of retargeting, for those who name them without loading numpy."""

from __future__ import annotations

from typing import Literal

EstimatorName = Literal["blazepose", "dwpose", "controlnet-aux"]
"""Pose estimators; see `pose.estimators`."""

Device = Literal["cpu", "cuda"]
"""Devices that an estimator's networks run on; see `pose.estimators.sessions`."""

RetargetMode = Literal["none", "affine", "robust", "limbs"]
"""Ways to lay the driving motion onto the reference's person; see `pose.retarget`."""

Absence = Literal["fade", "hold", "empty"]
"""Fates of frames in which the person is not seen; see `pose.clean.fill_absence`."""

DrawingStyle = Literal["canonical", "published", "published-rgb", "small"]
"""Ways to draw skeletons; see `pose.draw`."""
