"""Control of a stock still pipeline: its UNet is hooked for the length of a call.

The pipeline itself is never changed: a hook on the UNet learns the timestep, computes the control
features of the picture at it, and leaves them where `animate.models.injection` adds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from animate.models.config import Injection
from animate.models.controlnext import ControlNetwork
from animate.models.injection import ControlPort, inject, learned_weight


@contextmanager
def controlled(
    unet: Any,
    network: ControlNetwork,
    injection: Injection,
    pictures_B3HW: Tensor,
    *,
    weight: float | None = None,
    scheduler: Any = None,
    span: tuple[float, float] = (0.0, 1.0),
) -> Iterator[ControlPort]:
    """Have every call of `unet` controlled by pictures for the length of the `with` block.

    pictures: values in [0,1], RGB, where the UNet is; one for all rows of a call, so that both
        halves of guidance get its control, or one for each
    weight: counts in place of the injection's
    scheduler: the pipeline's, where `span` is not the whole of its steps
    span: fractions of the steps at which control begins and ends
    Raises ModelError where the UNet has control already.
    """
    with inject(unet, injection, learned_weight(injection, network, weight)) as port:

        def before(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            timestep = args[1] if len(args) > 1 else kwargs["timestep"]
            if not _within(span, scheduler, timestep):
                port.hold(None)
                return
            dtype = next(network.parameters()).dtype
            features = network(pictures_B3HW.to(dtype)[:, None], timestep)
            port.hold(features.to(unet.dtype))

        handle = unet.register_forward_pre_hook(before, with_kwargs=True)
        try:
            yield port
        finally:
            handle.remove()


def _within(span: tuple[float, float], scheduler: Any, timestep: Any) -> bool:
    if span == (0.0, 1.0):
        return True
    timesteps = [float(value) for value in scheduler.timesteps]
    position = timesteps.index(float(timestep)) / len(timesteps)
    return span[0] <= position < span[1]
