"""Allowed words of this package's settings, for those who name them: nothing else is loaded."""

from __future__ import annotations

from typing import Literal

NoiseKind = Literal["independent", "repeated", "shuffled-block"]
"""Relation of the noise of frames; see `temporal.noise`."""

Precision = Literal["float32", "float16", "bfloat16", "int8"]
"""Numbers that a network computes with or is stored in; see `temporal.precision`."""

Offload = Literal["none", "model", "stream"]
"""Weights that stay on the host until they are needed; see `temporal.offload`."""

Schedule = Literal["static", "anchored", "shifting"]
"""Layouts of windows over a clip; see `temporal.windows`."""

PublishedName = Literal["controlnext-v1", "controlnext-v2", "mimicmotion", "animate-anyone"]
"""Layouts of published loops; see `temporal.published`."""

WeightName = Literal["flat", "triangular", "overlap-linear", "relative"]
"""Weights of a window's frames where windows overlap; see `temporal.slot_weights`."""
