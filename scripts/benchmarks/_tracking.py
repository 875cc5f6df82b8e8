"""Peaks of a full-size network on a machine that could not hold it.

Under torch's FakeTensorMode tensors have shapes but no memory, and its MemTracker adds up what
would be alive. Slow (a tenth of a second for each thousand operations would be a good machine), so
this checks the planner's predictions; it does not make them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker


class _Stage(nn.Module):
    """One root over everything that runs: the tracker takes a second root call for a new epoch."""

    def __init__(self, networks: Sequence[nn.Module], run: Callable[[], object]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.run = run

    def forward(self) -> None:
        self.run()


def tracked_peak(
    networks: Sequence[nn.Module], run: Callable[[], object], resident: Sequence[Tensor] = ()
) -> int:
    """Bytes at the widest moment of `run`, weights of `networks` and `resident` included.

    Args:
        networks: what `run` calls; real (their memory is counted, not measured) or fake.
        run: the work; its inputs should be in `resident` to be counted.
        resident: tensors that are alive all the time.
    """
    stage = _Stage(networks, run)
    trainable = {parameter: parameter.requires_grad for parameter in stage.parameters()}
    tracker = MemTracker()
    tracker.track_external(stage, *resident)
    try:
        for parameter in trainable:  # the tracker hangs hooks on gradients and insists on them
            parameter.requires_grad_(parameter.is_floating_point())
        with torch.no_grad(), tracker:
            stage()
    finally:
        for parameter, trainable_before in trainable.items():
            parameter.requires_grad_(trainable_before)
    peak = tracker.get_tracker_snapshot("peak")
    return sum(int(by_kind["Total"]) for by_kind in peak.values())


def build_fake(make: Callable[[], Any], dtype: torch.dtype) -> tuple[FakeTensorMode, Any]:
    """A network without memory, and the mode in which to call it.

    Args:
        make: builds it, e.g. `lambda: UNetSpatioTemporalConditionModel()`.
        dtype: of its weights.
    """
    mode = FakeTensorMode()
    default_dtype = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with mode:
            return mode, make().eval()
    finally:
        torch.set_default_dtype(default_dtype)
