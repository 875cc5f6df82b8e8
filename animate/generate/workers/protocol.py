"""What somebody else needs to compute windows of a clip, and who may do it.

Windows of one step do not depend on each other, so several workers can share them. Whoever
computes them, predictions are fused by `denoise` in window order, never as they arrive: the latents
do not depend on the number of workers or on their speed, to the bit.

Shapes: W windows, S slots of a window, F frames, C H W a latent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from animate.driving.skeletons import ControlFrames
from animate.generate.conditioning import Conditioning
from animate.generate.denoise import Predict
from animate.generate.settings import ClipSettings
from temporal.memory_plan import MemoryPlan
from temporal.windows import Window, WindowPlan


@dataclass(frozen=True, kw_only=True)
class ClipWork:
    """Everything of one clip that a worker with the networks needs, besides latents.

    Attributes:
        settings: of the clip.
        plan: the windows of every step.
        conditioning: of the reference.
        control: skeletons of all frames, drawn where they are needed.
        timesteps: the scheduler's, one for each step.
        scales: guidance of each step, as `denoise` takes them.
        memory: how to keep within an amount of memory; None runs everything whole.
        compiler: backend of `torch.compile` for the UNet; None runs it as it is.
    """

    settings: ClipSettings
    plan: WindowPlan
    conditioning: Conditioning
    control: ControlFrames
    timesteps: Tensor
    scales: tuple[Tensor | None, ...]
    memory: MemoryPlan | None = None
    compiler: str | None = None


class WindowExecutor(Protocol):
    """Computes the windows of clips somewhere. Every one passes the same contract suite.

    Networks go to the workers once; a clip is opened, its steps are asked for one after the other,
    and the next clip may follow.
    """

    workers: int
    """How many compute at the same time."""

    def open(
        self, parts: Any, work: ClipWork, on_window: Callable[[int], None]
    ) -> AbstractContextManager[Predict]:
        """A `Predict` for all windows of a step of this clip in one call, without control.

        parts: `Components`, of which the UNet and the control network are used
        on_window: called with the number of windows just finished
        Raises ExecutorError when workers cannot be had or stay away, within `predict` as well;
        what else a worker raises passes through.
        """

    def describe(self) -> str:
        """Who computes, in words for records."""

    def close(self) -> None:
        """Let the workers go; safe to call twice."""


def first_uses(windows: Sequence[Window], chunk: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """For each window, the groups of frames whose control features `denoise` asks for there.

    Every frame is in one group only, that of the first window that uses it. The bits of a frame's
    features may depend on what is computed beside it, so a worker that starts in the middle of the
    step forms the same groups.
    """
    seen: set[int] = set()
    groups = []
    for window in windows:
        new = sorted(set(window.control) - seen)
        seen.update(new)
        groups.append(
            tuple(tuple(new[start : start + chunk]) for start in range(0, len(new), chunk))
        )
    return tuple(groups)
