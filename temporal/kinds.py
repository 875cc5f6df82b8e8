"""The words of what is computed with torch here, for those who name it without loading torch.

The words of schedules and of weights stand beside them, in `temporal.windows`, `temporal.published`
and `temporal.slot_weights`, which load nothing heavy.
"""

from __future__ import annotations

from typing import Literal

NoiseKind = Literal["independent", "repeated", "shuffled-block"]
"""Relation of the noise of frames; see `temporal.noise`."""

Precision = Literal["float32", "float16", "bfloat16", "int8"]
"""Numbers that a network computes with or is stored in; see `temporal.precision`."""

Offload = Literal["none", "model", "stream"]
"""Weights that stay on the host until they are needed; see `temporal.offload`."""
