"""The training loop, whatever is trained on whatever data: one optimiser, a moving average,
checkpoints that resume to the bit, one process or several (accelerate).

A subclass says what is trained (`networks`, `parameters`), on what (`batch`), and what is minimised
(`losses`). Every step draws its numbers from the recipe's seed, its own number and the process's,
so a run that is killed and taken up again continues exactly as it would have.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.random import Generator
from torch import Tensor, nn

from animate.errors import TrainingError
from animate.progress import Progress, Quiet
from animate.training.checkpoints import load_checkpoint, save_checkpoint
from animate.training.curves import Log

STATE = "networks.pt"


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """Values of a recipe that the loop itself uses."""

    folder: Path
    """Folder of checkpoints, logs and pictures."""
    digest: str
    """Digest of everything that decides the weights; a checkpoint resumes with its own alone."""
    recipe: str = ""
    """Digest of the recipe and its base alone, by which an export finds the learned weights."""
    seed: int
    steps: int
    accumulate: int = 1
    """Batches whose gradients make one step."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.998
    """Share that the moving average keeps at a step."""
    weight_decay: float = 0.01
    checkpoint_every: int = 100
    """Steps between two checkpoints."""
    validate_every: int = 0
    """Steps between two validations; 0: none."""


class Loop(ABC):
    """The networks of a run with all that a step needs. See the module for what a subclass gives.

    `average` is the moving average of `parameters`, in their order.
    """

    def __init__(
        self,
        options: LoopOptions,
        accelerator: Accelerator,
        networks: nn.ModuleDict,
        parameters: Mapping[str, nn.Parameter],
    ) -> None:
        """Networks are on the accelerator's device; the checkpoint is taken up if there is one."""
        self.options, self.accelerator, self.networks = options, accelerator, networks
        self.names = list(parameters)
        self.parameters = list(parameters.values())
        self.average = [p.detach().clone() for p in self.parameters]
        self.optimiser = torch.optim.AdamW(
            self.parameters, betas=(0.9, 0.99), weight_decay=options.weight_decay, fused=True
        )
        self.step = 0
        self.log = Log(options.folder, accelerator)
        state = load_checkpoint(options.folder / STATE, options.digest)
        if state is not None:
            self._restore(state)
        # Wrapped last: several processes begin with the same weights.
        self._model = accelerator.prepare(_Whole(networks, self.losses))

    # What a subclass says.

    @abstractmethod
    def rate(self) -> float:
        """The learning rate of this step."""

    @abstractmethod
    def batch(self, rng: Generator, part: int) -> Any:
        """The argument of `losses`; its `names` say which clips it holds. `part` counts the
        batches of a step."""

    @abstractmethod
    def losses(self, batch: Any, rng: Generator) -> Tensor:
        """Losses (B,) of a batch with the draws of a generator."""

    @contextmanager
    def session(self) -> Iterator[None]:
        """Around steps: what is hooked onto the networks while they train."""
        yield

    def validate(self, progress: Progress) -> None:  # noqa: B027 -- nothing, unless a subclass says so
        """Look at what the moving average makes by now."""

    def trained(self) -> Mapping[str, object]:
        """Tensors and plain values that a checkpoint holds beside average and optimiser."""
        return dict(zip(self.names, (p.detach() for p in self.parameters), strict=True))

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Put back what `trained` gave."""
        with torch.no_grad():
            for name, parameter in zip(self.names, self.parameters, strict=True):
                parameter.copy_(state[name])

    # The loop.

    def run(self, progress: Progress | None = None) -> None:
        """Train until the last step. Raises `TrainingError` when a loss is not finite; the last
        checkpoint stays as it is."""
        progress = progress if progress and self.accelerator.is_main_process else Quiet()
        self.log.begin(self.step)
        missed = self.step > 0 and not self.log.validated(self.step)
        self.accelerator.wait_for_everyone()  # all have looked before one writes
        if missed:  # the run was killed before it could
            self._look(progress)
        with progress.stage("training", self.options.steps - self.step) as stage:
            while self.step < self.options.steps:
                with self.session():
                    self._until(self._next_validation(), progress, stage)
                self._look(progress)
        self.log.close()

    def _look(self, progress: Progress) -> None:
        """Validate where one is due."""
        if self.options.validate_every and self.step % self.options.validate_every == 0:
            if self.accelerator.is_main_process:
                self.validate(progress)
            self.accelerator.wait_for_everyone()

    def _next_validation(self) -> int:
        every = self.options.validate_every
        if not every:
            return self.options.steps
        return min((self.step // every + 1) * every, self.options.steps)

    def _until(self, stop: int, progress: Progress, stage: Any) -> None:
        began, losses = time.monotonic(), []
        while self.step < stop:
            losses.append(self.train_step())
            stage.advance()
            self.log.step(self.step, losses[-1], self.optimiser.param_groups[0]["lr"])
            if self.step % self.options.checkpoint_every == 0 or self.step == self.options.steps:
                self.save()
                recent = losses[-self.options.checkpoint_every :]
                pace = (time.monotonic() - began) / len(losses)
                self.log.summary(progress, self.step, recent, pace)

    def train_step(self) -> float:
        """One step of the optimiser; returns the loss, the mean over processes."""
        options = self.options
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for part in range(options.accumulate):
            last = part + 1 == options.accumulate
            rng = np.random.default_rng(self.seed_of(self.step, part))
            batch = self.batch(rng, part)
            with nullcontext() if last else self.accelerator.no_sync(self._model):
                losses = self._model(batch, rng)
                loss = losses.mean()
                self._check(loss, batch)
                self.accelerator.backward(loss / options.accumulate)
            total += self._mean(loss) / options.accumulate
        self.accelerator.clip_grad_norm_(self.parameters, options.clip_norm)
        self.optimiser.step()
        self.step += 1
        keep = min(options.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - keep)
        return total

    def seed_of(self, step: int, part: int) -> list[int]:
        """Seed of the draws of one batch, different for steps, parts and processes."""
        position = (part, self.accelerator.process_index)
        return [self.options.seed, 20, step, *(position if any(position) else ())]

    def _mean(self, loss: Tensor) -> float:
        return float(self.accelerator.reduce(loss.detach().clone(), "mean"))

    def _check(self, loss: Tensor, batch: Any) -> None:
        """Raises `TrainingError` in every process when the loss of one is not finite."""
        values = self.accelerator.gather(loss.detach().double().reshape(1))
        if torch.isfinite(values).all():
            return
        from accelerate.utils import gather_object

        names = gather_object([", ".join(batch.names)])
        index = next(i for i, value in enumerate(values.tolist()) if not np.isfinite(value))
        raise TrainingError(
            f"the loss of step {self.step} is {values[index].item()} (batch: {names[index]}); the "
            f"checkpoint before it is kept in {self.options.folder}. Lower the learning rate, or "
            "look at that part of the data"
        )

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the networks have the moving average of their weights."""
        weights = [p.data for p in self.parameters]
        for parameter, average in zip(self.parameters, self.average, strict=True):
            parameter.data = average
        try:
            yield
        finally:
            for parameter, value in zip(self.parameters, weights, strict=True):
                parameter.data = value

    # Checkpoints.

    def save(self) -> None:
        """Write the checkpoint, in one process."""
        if self.accelerator.is_main_process:
            state = {
                "digest": self.options.digest,
                "step": self.step,
                "networks": self.trained(),
                "average": self.average,
                "optimiser": self.optimiser.state_dict(),
            }
            if self.options.recipe:
                state["recipe"] = self.options.recipe
            save_checkpoint(self.options.folder / STATE, state)
        self.accelerator.wait_for_everyone()

    def _restore(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.take_up(state["networks"])
        self.optimiser.load_state_dict(state["optimiser"])
        for average, saved in zip(self.average, state["average"], strict=True):
            average.copy_(saved)


class _Whole(nn.Module):
    """The networks as one module whose forward gives the losses, so that accelerate's wrapper sees
    the gradients of all of them come in."""

    def __init__(self, networks: nn.ModuleDict, losses: Any) -> None:
        super().__init__()
        self.networks = networks
        self._losses = losses

    def forward(self, batch: Any, rng: Generator) -> Tensor:
        result: Tensor = self._losses(batch, rng)
        return result


def make_accelerator(folder: Path, trackers: tuple[str, ...] = ()) -> Accelerator:
    """accelerate's view of the processes and the device that this one uses.

    A GPU where torch sees one, gloo on CPUs. Raises `TrainingError` naming the extra when a tracker
    is not installed.
    """
    from datetime import timedelta

    from accelerate.tracking import get_available_trackers
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

    handlers = [
        # Cross-attention over one token leaves its queries and keys without a gradient.
        DistributedDataParallelKwargs(find_unused_parameters=True),
        # The others wait while the first process estimates poses or validates.
        InitProcessGroupKwargs(timeout=timedelta(days=2)),
    ]
    # Asked beforehand: accelerate leaves out what is not installed.
    missing = set(trackers) - {
        getattr(tracker, "value", str(tracker)) for tracker in get_available_trackers()
    }
    if missing:
        raise TrainingError(
            f"trackers {', '.join(sorted(missing))}: not installed; pip install "
            "'cnx-animate[train]', or leave trackers out of the recipe"
        )
    return Accelerator(
        cpu=not torch.cuda.is_available(),
        log_with=list(trackers) or None,
        project_dir=folder,
        kwargs_handlers=handlers,
    )
