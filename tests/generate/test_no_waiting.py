"""The loop never asks the device for a value.

It runs on torch's meta device, whose tensors have no values: whatever reads one, or moves one to
the host, raises. Copies from the host, which can make a device wait as well, are counted.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from animate.generate.denoise import Networks, Steps, denoise
from animate.generate.network import GuidedUNet
from animate.generate.schedules import SOLVERS, make_scheduler
from animate.models.config import Injection
from animate.models.injection import inject
from animate.request.values import Guidance
from temporal.constant_attention import constant_cross_attention
from temporal.windows import SCHEDULES, plan_windows
from tests.generate.ideal import SVD_SCHEDULER

META = torch.device("meta")
FRAMES, STEPS = 8, 2


class Uploads(TorchDispatchMode):
    """Counts operations that copy from the host to the device."""

    count = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None):
        result = operation(*args, **(kwargs or {}))
        if operation.overloadpacket.__name__ in ("_to_copy", "copy_"):
            tensors = [t for t in tree_leaves((args, result)) if isinstance(t, torch.Tensor)]
            self.count += len({t.device.type for t in tensors}) > 1
        return result


def run(predict: Any, solver: str, schedule: str) -> tuple[int, int]:
    """Uploads within the loop, and calls of the network."""
    scheduler = make_scheduler(SVD_SCHEDULER, STEPS, solver=solver, device=META)
    calls = len(scheduler.timesteps)
    plan = plan_windows(FRAMES, window=5, overlap=2, steps=calls, schedule=schedule)
    uploads: list[int] = []
    with Uploads() as watch:
        networks = Networks(
            predict=predict,
            control=lambda frames, time: torch.empty(len(frames), 32, 10, 6, device=META),
            on_window=lambda count: uploads.append(watch.count),
        )
        noise = torch.empty(FRAMES, 4, 10, 6, device=META)
        latents = denoise(noise, scheduler, Steps.of(scheduler, plan, Guidance(1, 2)), networks)
    assert latents.device == META
    return uploads[-1] - uploads[0], len(uploads)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_steps_are_queued_without_waiting(solver, schedule):
    uploads, calls = run(lambda sample, control, call: sample * call.timestep, solver, schedule)
    # UniPC makes its few coefficients on the host at every step; the others copy nothing.
    assert uploads <= (3 * calls if solver == "unipc" else 0)


def test_the_network_s_calls_are_queued_without_waiting(unet, conditioning):
    network = copy.deepcopy(unet).to(META)
    with (
        inject(network, Injection(hook_point="down", weight=0.5)) as port,
        constant_cross_attention(network),
    ):
        predict = GuidedUNet(network, port, conditioning.to(META, torch.float32))
        assert run(predict, "euler", "static")[0] == 0
