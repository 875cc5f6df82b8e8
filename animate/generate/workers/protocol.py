"""Workers that compute windows of a clip: what each promises.

Windows of one step do not depend on each other, so several workers can share them. Whoever
computes them, predictions are fused by `denoise` in window order, never as they arrive: the latents
do not depend on the number of workers or on their speed, to the bit.

Shapes: W windows, S slots of a window, F frames, C H W a latent.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from animate.generate.denoise import Predict
from animate.generate.network import ClipWork
from animate.models.components import Components


class WindowExecutor(Protocol):
    """Computes the windows of clips somewhere. Every one passes the same contract suite.

    Networks go to the workers once; a clip is opened, its steps are asked for one after the other,
    and the next clip may follow.
    """

    workers: int
    """Number of workers that compute at the same time."""

    def open(
        self, parts: Components, work: ClipWork, on_window: Callable[[int], None]
    ) -> AbstractContextManager[Predict]:
        """A `Predict` for all windows of a step of this clip in one call, without control.

        parts: the model, of which the UNet and the control network are used
        on_window: called with the number of windows just finished
        Raises ExecutorError when workers cannot be had or stay away, within `predict` as well;
        what else a worker raises passes through.
        """

    def describe(self) -> str:
        """Name of the workers, in words for records."""

    def close(self) -> None:
        """Let the workers go; safe to call twice."""
