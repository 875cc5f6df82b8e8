"""Loaded networks and the device that computes, and what changes for another try of a stage.

A stage in which memory ran out is tried again by a smaller plan. A stage whose network gave numbers
that are not finite is tried again in the next wider type: float16 ends at 65,504, and some cards
compute wrong in it. Both are said; where nothing is left to try, one message says what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import torch

from animate.device import computing_dtype, device_memory, wider_type
from animate.errors import NotFiniteError, ran_out_of_memory
from animate.generate.workers.protocol import WindowExecutor
from animate.models.components import Components
from animate.progress import Progress
from temporal.errors import MemoryBudgetError, TemporalError
from temporal.kinds import Offload
from temporal.ladder import ROOM
from temporal.memory import BoundedStage, plan_memory, smaller
from temporal.memory_plan import MemoryPlan
from temporal.offload import send_home

_NETWORKS: Final[dict[BoundedStage, tuple[str, ...]]] = {
    "encode": ("image_encoder",),  # the autoencoder encodes in float32, whatever it is kept in
    "denoise": ("unet", "controlnext", "identity"),
    "decode": ("vae",),
}
"""Networks whose type a stage computes in, as far as a variant has them."""


@dataclass(kw_only=True)
class Engine:
    """Loaded networks and the device that computes. `plan` alone changes, and the networks' type:
    when a stage has to be tried again (`try_again`)."""

    components: Components
    """The variant's networks, anywhere: a stage brings to the device what it uses."""
    device: torch.device
    plan: MemoryPlan | None = None
    """Pieces and offloading that keep within an amount of memory; None runs everything whole."""
    executor: WindowExecutor | None = None
    """Workers that compute the windows of a step; None: this process, on `device`."""
    compiler: str | None = None
    """Backend of `torch.compile` for the UNet; None runs it as it is."""
    packed: bool = False
    """The UNet's weights are packed for the processor."""

    @property
    def offload(self) -> Offload:
        """Treatment of a network after the stage that uses it."""
        return "none" if self.plan is None or self.plan.offload == "none" else "model"

    @property
    def latent_scale(self) -> int:
        """Pixels of a side that one latent position stands for."""
        return 2 ** (len(self.components.vae.config.block_out_channels) - 1)

    def clear_device(self) -> None:
        """Clear the device of networks where a plan counts only those in use: an earlier clip, or
        try, with more room has left its own there."""
        if self.offload != "none":
            send_home(self.components.networks())
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


@dataclass
class Attempt:
    """One try of a stage: a block whose error is put aside for `attempts`."""

    problem: Exception | None = None
    """The error that ended the block."""

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> bool:
        """Put an error aside; what interrupts the program passes."""
        if isinstance(error, Exception):
            self.problem = error
        return self.problem is not None


def attempts(engine: Engine, stage: BoundedStage, progress: Progress) -> Iterator[Attempt]:
    """Tries of a stage, until a block ends without an error.

    Each but the first comes after `try_again` has changed the engine for it. No name of the caller
    may hold what fills the device's memory from one try to the next. Raises as `try_again`.
    """
    while True:
        attempt = Attempt()
        yield attempt
        if attempt.problem is None:
            return
        try_again(engine, stage, attempt.problem, progress)


def try_again(engine: Engine, stage: BoundedStage, problem: Exception, progress: Progress) -> None:
    """Change the engine for another try of a stage that failed, and say so.

    Raises `problem` where another try cannot help, TemporalError where no smaller plan is left.
    """
    if engine.executor is not None and stage == "denoise":  # its networks are the workers'
        raise problem
    if isinstance(problem, NotFiniteError):
        _widen(engine, stage, problem, progress)
    elif ran_out_of_memory(problem):
        _shrink(engine, stage, problem, progress)
    else:
        raise problem


def _shrink(engine: Engine, stage: BoundedStage, problem: Exception, progress: Progress) -> None:
    """The next smaller plan, or one that fits what is free now: another program may have come."""
    if engine.plan is None:
        if engine.device.type == "cpu":
            raise problem
        raise TemporalError(
            f"the device's memory ran out to {stage}; give --memory with what may be used, a "
            "smaller --size or a shorter --window"
        ) from problem
    _let_go(problem)  # before anything is measured or moved
    before, engine.plan = engine.plan, smaller(engine.plan, stage)
    engine.clear_device()
    if engine.device.type == "cuda":
        torch.cuda.empty_cache()
        engine.plan = _fitting(engine.plan, stage, device_memory(engine.device))
    progress.warn(
        f"memory ran out to {stage}; trying again with a plan of "
        f"{engine.plan.peaks[stage] / 2**30:.1f} GiB instead of {before.peaks[stage] / 2**30:.1f}"
    )


def _fitting(plan: MemoryPlan, stage: BoundedStage, free: int) -> MemoryPlan:
    """The first plan from this one on that a stage has room for, or the smallest."""
    while plan.peaks[stage] * ROOM > free:
        try:
            plan = smaller(plan, stage)
        except MemoryBudgetError:
            break
    return plan


def _widen(
    engine: Engine, stage: BoundedStage, problem: NotFiniteError, progress: Progress
) -> None:
    """The stage's networks in the next wider type, and a plan for it. Raises `problem` where there
    is none, or where it was not a network of that type that gave the numbers."""
    affected = [getattr(engine.components, name) for name in _NETWORKS[stage]]
    networks = [network for network in affected if network is not None]
    narrow = computing_dtype(networks[0])
    wide = wider_type(narrow, engine.device)
    if wide is None or (stage == "encode" and problem.network != "image encoder"):
        raise problem
    name: Any = str(wide).removeprefix("torch.")
    if engine.plan is not None and stage == "denoise":
        try:
            engine.plan = _in_type(engine.plan, name)
        except MemoryBudgetError as reason:
            problem.add_note(f"a try in {name} has no room: {reason}")
            raise problem from None
    text = str(narrow).removeprefix("torch.")
    progress.warn(
        f"{stage}: the {problem.network} gave numbers that are not finite in {text} "
        f"({problem.position}); computing them again in {name}, and what follows"
    )
    _let_go(problem)
    engine.clear_device()
    for network in networks:
        torch.nn.Module.to(network, wide)  # diffusers' own `to` warns of nothing that applies here


def _in_type(plan: MemoryPlan, precision: Any) -> MemoryPlan:
    """The plan of the same request in another type; 8-bit weights stay 8-bit."""
    changes = {"automatic": precision}
    if plan.precision != "int8":
        changes["precision"] = precision
    return plan_memory(replace(plan.request, **changes))


def _let_go(error: BaseException | None) -> None:
    """Drop the frames that an error holds, and with them the tensors in those."""
    while error is not None:
        error.__traceback__ = None
        error = error.__context__
