"""Choose how to run within a memory budget: first what costs no time, last what changes numbers.

The choices form a ladder from the fastest to the smallest (`temporal.ladder`); a plan is its first
rung that fits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

from torch import nn

from temporal.constant_attention import constant_cross_attention
from temporal.errors import MemoryBudgetError
from temporal.ladder import ROOM, ladder, smaller_decoding
from temporal.memory_plan import GIB, MemoryPlan, MemoryRequest
from temporal.offload import offloaded
from temporal.precision import quantise_weights

BoundedStage = Literal["encode", "denoise", "decode"]
"""Stages whose memory a plan bounds."""


def plan_memory(request: MemoryRequest) -> MemoryPlan:
    """The fastest plan within the budget.

    Raises:
        MemoryBudgetError: nothing fits; says what the smallest plan takes.
    """
    plans = ladder(request)
    for plan in plans:
        if plan.peak * ROOM <= request.budget:
            return plan
    least = min(plans, key=lambda plan: plan.peak)
    needed = least.peak * ROOM / GIB
    shorter = "" if request.window == 1 else ", or use a smaller size or a shorter window"
    raise MemoryBudgetError(
        f"nothing runs {request.window} frames of {request.size[0]}x{request.size[1]} within "
        f"{request.budget / GIB:.2f} GiB; the nearest budget that works is "
        f"{needed + 0.005:.2f} GiB{shorter}"
    )


def smaller(plan: MemoryPlan, stage: BoundedStage = "denoise") -> MemoryPlan:
    """The next plan that takes clearly less in a stage, after memory has run out in it.

    Raises:
        MemoryBudgetError: there is none.
    """
    later = ladder(plan.request)[plan.rung + 1 :]
    if stage != "denoise":  # 8-bit weights are of the UNet
        later = [candidate for candidate in later if candidate.precision == plan.precision]
    fixed = plan.request.resident
    less = fixed + 0.95 * (plan.peaks[stage] - fixed)
    better = next((candidate for candidate in later if candidate.peaks[stage] < less), None)
    if stage == "decode":
        better = _less_to_decode(plan, better)
    if better is None:
        raise MemoryBudgetError(
            f"memory ran out with the smallest plan already ({plan.peaks[stage] / GIB:.2f} GiB "
            f"predicted to {stage}); use a smaller size or a shorter window, or free memory on "
            "the device"
        )
    return better


def _less_to_decode(plan: MemoryPlan, candidate: MemoryPlan | None) -> MemoryPlan | None:
    """Other networks off the device if the next plan does so, which changes no number; else
    smaller pieces, and fewer frames together last."""
    if (
        candidate is None
        or candidate.offload == plan.offload
        or candidate.decode.group < plan.decode.group
    ):
        return smaller_decoding(plan)
    peaks = {**plan.peaks, "decode": candidate.peaks["decode"]}
    return replace(plan, offload=candidate.offload, decode=candidate.decode, peaks=peaks)


@contextlib.contextmanager
def apply_plan(
    unet: nn.Module, plan: MemoryPlan, device: Any, *, constant: bool = True
) -> Iterator[None]:
    """Within it the UNet runs as planned; put it into the plan's computing type first.

    Constant cross-attention is on, too. What is not the UNet's is the caller's: `window_batch`,
    `halves_together`, `decode`, and moving the other networks for offload "model" and "stream"
    (`offloaded(vae, device, "model")`).

    Args:
        unet: a `UNetSpatioTemporalConditionModel` or a `UNetMotionModel`; restored at the end, but
            for 8-bit weights, which stay.
        plan: from `plan_memory`.
        device: where to compute.
        constant: False leaves constant cross-attention off, for a context of several tokens.
    """
    from temporal.chunked.context import chunked

    if plan.precision == "int8":
        quantise_weights(unet)
    with contextlib.ExitStack() as stack:
        stack.enter_context(offloaded(unet, device, plan.offload))
        if constant:
            stack.enter_context(constant_cross_attention(unet))
        if plan.chunks is not None:
            # Steps without guidance, and the last windows, have fewer rows than were planned for.
            stack.enter_context(chunked(unet, plan.chunks, clamp=True))
        yield
