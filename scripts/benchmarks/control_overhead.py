"""Cost of control in a guided step of the full-size UNet, as the product runs it.

Control features are computed once per frame and step and added on the conditional half; the bare
UNet beside it computes both guidance halves. The two are timed apart and summed: their difference
would be smaller than a machine's noise. Normalising and adding one feature map is left out. The
paper states +4.9 % for this model.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from animate.generate.conditioning import Conditioning
from animate.generate.denoise import Call
from animate.generate.network import ControlEncoder, GuidedUNet
from animate.models.config import ControlNeXtConfig, Injection
from animate.models.controlnext import ControlNeXt
from animate.models.injection import inject
from scripts.benchmarks._networks import filled, guided_inputs, make_unet
from scripts.benchmarks.rows import Row, both_clocks
from temporal.constant_attention import constant_cross_attention
from temporal.speed import cached_chunks, tuned_for_cpu
from temporal.windows import plan_windows

FRAMES, SIZE = 8, (320, 192)
NATIVE_FRAMES, NATIVE_SIZE = 24, (1024, 576)
REPEATS = 3
KEPT = (1, 2, 3, 5, 25)
"""Steps of which one computes the control features; a published clip has 25."""


def run(toy: bool = False) -> list[Row]:
    """The rows; with `toy`, of a network and a clip that a test can run."""
    if toy:
        return [
            *time_rows(2, (64, 64), 1, make_toy_unet),
            *arithmetic_rows(2, (64, 64), make_toy_unet),
        ]
    return [*time_rows(FRAMES, SIZE, REPEATS), *arithmetic_rows()]


def make_toy_unet() -> Any:
    """The architecture with narrow blocks behind the first."""
    from diffusers import UNetSpatioTemporalConditionModel

    return UNetSpatioTemporalConditionModel(
        block_out_channels=(320, 64, 64, 64), num_attention_heads=(5, 2, 2, 2)
    )


@torch.no_grad()
def time_rows(frames: int, size: tuple[int, int], repeats: int, make: Any = make_unet) -> list[Row]:
    """Seconds of a guided step, and of it and the control network's part, by both clocks."""
    unet, control = filled(make, torch.bfloat16), filled(make_control, torch.bfloat16)
    width, height = size
    generator = torch.Generator().manual_seed(1)
    conditioning = Conditioning(
        embedding=torch.randn(1, 1, 1024, generator=generator),
        latents=torch.randn(
            1, unet.config.out_channels, height // 8, width // 8, generator=generator
        ),
        micro=torch.tensor([[6.0, 128.0, 0.02]]),
    )
    sample = torch.randn(
        1, frames, unet.config.out_channels, height // 8, width // 8, generator=generator
    )
    drawn = torch.rand(frames, 3, height, width, generator=generator)
    plan = plan_windows(frames, window=frames, overlap=0, steps=1)
    call = Call(step=0, timestep=torch.tensor(0.5), scale=torch.tensor(3.0), windows=plan.at(0))
    encoder = ControlEncoder(controlnext=control, draw=lambda chosen: drawn[list(chosen)])
    with ExitStack() as stack:
        stack.enter_context(constant_cross_attention(unet))
        pieces = cached_chunks(unet, window=frames, pixels=width * height // 64)
        stack.enter_context(tuned_for_cpu(unet, pieces, control))
        predict = GuidedUNet(
            unet,
            stack.enter_context(inject(unet, Injection(hook_point="down", weight=0.2))),
            conditioning,
        )
        seconds = both_clocks(
            {
                "bare": lambda: predict(sample, None, call),
                "control": lambda: encoder(range(frames), call.timestep),
            },
            repeats=repeats,
        )
    note = f"{frames} frames of {width}x{height}, bfloat16, {torch.get_num_threads()} thread(s)"
    return [
        Row(
            name=f"guided step with control, {clock}",
            value=getattr(seconds["bare"], field) + getattr(seconds["control"], field),
            unit="s",
            baseline=getattr(seconds["bare"], field),
            note=note,
        )
        for clock, field in (("processor time", "cpu"), ("wall time", "wall"))
    ]


def make_control() -> ControlNeXt:
    """The published v2 network, weights not set."""
    return ControlNeXt(ControlNeXtConfig())


def arithmetic_rows(
    frames: int = NATIVE_FRAMES, size: tuple[int, int] = NATIVE_SIZE, make: Any = make_unet
) -> list[Row]:
    """Floating-point operations of products and convolutions, counted on tensors without data:
    with control at every step, and at one step in N (`--keep-control`)."""
    with FakeTensorMode(), torch.no_grad():
        unet, control = make(), make_control()
        inputs = guided_inputs(frames=frames, size=size, dtype=torch.float32)
        with constant_cross_attention(unet), FlopCounterMode(display=False) as bare:
            inputs.predict(unet)
        with FlopCounterMode(display=False) as extra:
            control(torch.empty(1, frames, 3, size[1], size[0]), 0.5)
    operations = bare.get_total_flops()
    return [
        Row(
            name="arithmetic of a guided step with control"
            + ("" if every == 1 else f" at one step in {every}"),
            value=(operations + extra.get_total_flops() / every) / 1e12,
            unit="TFLOP",
            baseline=operations / 1e12,
            note=f"{frames} frames of {size[0]}x{size[1]}, counted, not timed",
        )
        for every in KEPT
    ]
