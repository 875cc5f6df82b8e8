"""Training of networks with control at a UNet: hooks, checkpoints and the average to export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from animate.errors import TrainingError
from animate.models.config import Injection
from animate.models.injection import ControlPort, inject
from animate.training.checkpoints import load_checkpoint
from animate.training.loop import STATE, Loop, LoopOptions
from animate.training.speed import channels_last, fast_on_cpu


class ControlledLoop(Loop):
    """Networks of which `unet` gets control within a session."""

    def __init__(
        self,
        options: LoopOptions,
        accelerator: Accelerator,
        networks: nn.ModuleDict,
        injection: Injection,
        parameters: Mapping[str, nn.Parameter] | None = None,
        fast: tuple[str, ...] = ("unet",),
    ) -> None:
        """Move the networks to the accelerator's device and take up the checkpoint.

        parameters: what is trained; None: everything
        fast: networks that are computed in the product's faster ways on processors
        """
        channels_last(networks)
        networks.to(accelerator.device)
        self._injection, self._fast = injection, fast
        self._port: ControlPort | None = None
        trained = dict(networks.named_parameters()) if parameters is None else parameters
        super().__init__(options, accelerator, networks, trained)

    @property
    def port(self) -> ControlPort:
        """The UNet's port."""
        assert self._port is not None, "losses are computed within a session"
        return self._port

    @contextmanager
    def session(self) -> Iterator[None]:
        """See `Loop`."""
        with ExitStack() as stack:
            if self.accelerator.device.type == "cpu":
                stack.enter_context(fast_on_cpu(*(self.networks[name] for name in self._fast)))
            self._port = stack.enter_context(inject(self.networks["unet"], self._injection))
            yield


class WholeLoop(ControlledLoop):
    """All weights are trained, and a checkpoint has the networks with their buffers."""

    def trained(self) -> Mapping[str, object]:
        """See `Loop`."""
        return dict(self.networks.state_dict())

    def take_up(self, state: Mapping[str, torch.Tensor]) -> None:
        """See `Loop`."""
        self.networks.load_state_dict(state)


def put_average(networks: nn.ModuleDict, folder: Path, digest: str) -> None:
    """Give networks the moving average of a `WholeLoop`'s checkpoint.

    Raises `TrainingError` when the run has none yet.
    """
    state = load_checkpoint(folder / STATE, digest)
    if state is None:
        raise TrainingError(f"{folder} holds no checkpoint yet; train first")
    networks.load_state_dict(state["networks"])
    with torch.no_grad():
        for parameter, average in zip(networks.parameters(), state["average"], strict=True):
            parameter.copy_(average)
