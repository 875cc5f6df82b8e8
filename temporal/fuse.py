"""Join the windows' predictions into one for the whole clip.

Shapes: B batch, F frames of the clip, S slots of a window, W windows of a step, C H W a latent.

Fusing is a weighted mean per frame, summed in float32 in the order of the windows, so the result
does not depend on where or in which order they were computed. The shares are worked out on the
host and go to the device once: nothing here makes the host wait for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from temporal.errors import TemporalError
from temporal.windows import Window, WindowPlan


@dataclass(frozen=True, kw_only=True)
class StepTables:
    """One step's windows as tensors on the device where the predictions are.

    frames: (W,S) int64, global frame of each slot
    control: (W,S) int64, frame whose control signal each slot takes
    shares: (W,S) float32, part of the frame's fused prediction; sums to 1 for each frame
    """

    frames: Tensor
    control: Tensor
    shares: Tensor


def step_tables(windows: Sequence[Window], frames: int, device: torch.device | str) -> StepTables:
    """Tables for windows of equal length over a clip of `frames` frames."""
    if len({len(window.frames) for window in windows}) != 1:
        raise TemporalError("the windows of one step must have the same length")
    total = [0.0] * frames
    for window in windows:
        for frame, weight in zip(window.frames, window.weights, strict=True):
            total[frame] += weight
    if 0.0 in total:
        raise TemporalError(f"no window contributes to frame {total.index(0.0)}")
    shares = [
        [weight / total[f] for f, weight in zip(w.frames, w.weights, strict=True)] for w in windows
    ]
    return StepTables(
        frames=torch.tensor([w.frames for w in windows], dtype=torch.int64).to(device),
        control=torch.tensor([w.control for w in windows], dtype=torch.int64).to(device),
        shares=torch.tensor(shares, dtype=torch.float32).to(device),
    )


def plan_tables(plan: WindowPlan, device: torch.device | str) -> tuple[StepTables, ...]:
    """Tables of each step of the plan's cycle; step k uses number k modulo their count."""
    return tuple(step_tables(windows, plan.frames, device) for windows in plan.cycle)


def add_window(
    fused_BFCHW: Tensor, prediction_BSCHW: Tensor, frames_S: Tensor, shares_S: Tensor
) -> None:
    """Add one window's share to the clip's float32 prediction, in place."""
    part = prediction_BSCHW.float() * shares_S.view(1, -1, 1, 1, 1)
    # A window's frames are all different, so this is a read and a write without collisions: the
    # same bits on every device, which an accumulating scatter does not promise.
    fused_BFCHW[:, frames_S] = fused_BFCHW[:, frames_S] + part


def fuse(
    predictions: Iterable[Tensor], windows: Sequence[Window], frames: int, *, dtype: torch.dtype
) -> Tensor:
    """Fuse the windows' predictions (B,S,C,H,W), given in window order, into (B,F,C,H,W).

    Raises TemporalError when their number or length is not that of the windows.
    """
    fused: Tensor | None = None
    count = 0
    for count, prediction in enumerate(predictions, start=1):
        if count > len(windows) or prediction.shape[1] != len(windows[count - 1].frames):
            raise TemporalError(
                f"prediction {count} with {prediction.shape[1]} frames fits none of the "
                f"{len(windows)} windows"
            )
        if fused is None:
            tables = step_tables(windows, frames, prediction.device)
            shape = (prediction.shape[0], frames, *prediction.shape[2:])
            fused = torch.zeros(shape, dtype=torch.float32, device=prediction.device)
        add_window(fused, prediction, tables.frames[count - 1], tables.shares[count - 1])
    if fused is None or count != len(windows):
        raise TemporalError(f"{count} predictions for {len(windows)} windows; give one for each")
    return fused.to(dtype)
