"""One denoising step of the published models: the base, with ControlNet, with ControlNeXt.

One conditional call of the UNet, no guidance; the control network runs as well.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from animate.models.config import Injection
from animate.models.injection import inject
from scripts.benchmarks._networks import guided_inputs
from scripts.paper.baselines.controlnet import add_residuals
from scripts.paper.figures import Arithmetic, StepArithmetic, StepSize
from scripts.paper.published_networks import BASES, make_base, make_controlnet, make_controlnext

NATIVE = {
    "SD1.5": StepSize(width=512, height=512),
    "SDXL": StepSize(width=1024, height=1024),
    "SVD": StepSize(width=1024, height=576, frames=14),
}
"""Sizes whose arithmetic is counted: those that the models were trained on."""
QUICK = StepSize(width=64, height=64, frames=2)


def measure_arithmetic(toy: bool = False) -> Arithmetic:
    """Arithmetic of a step by base and method, which no machine changes."""
    sizes = {base: QUICK if toy else NATIVE[base] for base in BASES}
    steps = {base: arithmetic(base, size, toy) for base, size in sizes.items()}
    return Arithmetic(sizes=sizes, steps=steps)


@torch.no_grad()
def arithmetic(base: str, size: StepSize, toy: bool = False) -> dict[str, StepArithmetic]:
    """TFLOP of products and convolutions of a step by method, counted on tensors without data."""
    with FakeTensorMode(), ExitStack() as stack:
        unet = make_base(base, toy)
        copy = make_controlnet(base, make_base(base, toy), take=True)
        control = make_controlnext("later", unet.config.block_out_channels[0])
        step = step_of(base, size, torch.float32)
        frames = torch.empty(1, frames_of(base, size), 3, size.height, size.width)
        counts = {}
        for method, call in step(unet, copy, control, frames, stack).items():
            with FlopCounterMode(display=False) as counter:
                call()
            counts[method] = counter.get_total_flops() / 1e12
    return {
        method: StepArithmetic(tflop=round(count, 4), percent=percent(count, counts["base"]))
        for method, count in counts.items()
    }


def frames_of(base: str, size: StepSize) -> int:
    """Frames of a step; image models have one."""
    return size.frames if base == "SVD" else 1


def percent(value: float, baseline: float) -> float:
    """Excess over the baseline, per cent."""
    return round(100 * (value / baseline - 1), 1)


Calls = dict[str, Callable[[], Tensor]]


def step_of(base: str, size: StepSize, dtype: torch.dtype) -> Callable[..., Calls]:
    """Takes (unet, ControlNet, ControlNeXt, control frames (1,F,3,H,W), stack for hooks) and
    gives the calls by method."""
    return (_clip_step if base == "SVD" else _image_step)(base, size, dtype)


def _image_step(base: str, size: StepSize, dtype: torch.dtype) -> Callable[..., Calls]:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    width = {"SD1.5": 768, "SDXL": 2048}[base]
    timestep = torch.tensor(500)
    latents, text = draw(1, 4, size.height // 8, size.width // 8), draw(1, 77, width)
    added = None
    if base == "SDXL":
        ids = torch.tensor([[size.height, size.width, 0, 0, size.height, size.width]])
        added = {"text_embeds": draw(1, 1280), "time_ids": ids.to(dtype)}

    def call(network: Any, **more: Any) -> Any:
        return network(
            latents, timestep, encoder_hidden_states=text, added_cond_kwargs=added,
            return_dict=False, **more,
        )  # fmt: skip

    def calls(unet: Any, copy: Any, control: Any, frames: Tensor, stack: ExitStack) -> Calls:
        port = stack.enter_context(inject(unet, Injection(hook_point="down", weight=1.0)))

        def with_controlnet() -> Tensor:
            skips, middle = call(copy, controlnet_cond=frames[0])
            result: Tensor = call(
                unet,
                down_block_additional_residuals=skips,
                mid_block_additional_residual=middle,
            )[0]
            return result

        def with_controlnext() -> Tensor:
            with port.holding(control(frames, timestep)):
                result: Tensor = call(unet)[0]
                return result

        return {
            "base": lambda: call(unet)[0],
            "ControlNet": with_controlnet,
            "ControlNeXt": with_controlnext,
        }

    return calls


def _clip_step(_base: str, size: StepSize, dtype: torch.dtype) -> Callable[..., Calls]:
    inputs = guided_inputs(
        frames=size.frames, size=(size.width, size.height), dtype=dtype, halves=1
    )

    def calls(unet: Any, copy: Any, control: Any, frames: Tensor, stack: ExitStack) -> Calls:
        port = stack.enter_context(inject(unet, Injection(hook_point="down", weight=0.2)))
        residuals = stack.enter_context(add_residuals(unet))

        def with_controlnet() -> Tensor:
            timestep = inputs.timestep.reshape(1)
            residuals.set(
                copy(inputs.sample, timestep, inputs.embedding, inputs.added_time_ids, frames)
            )
            try:
                return inputs.predict(unet)
            finally:
                residuals.set(None)

        def with_controlnext() -> Tensor:
            with port.holding(control(frames, inputs.timestep)):
                return inputs.predict(unet)

        return {
            "base": lambda: inputs.predict(unet),
            "ControlNet": with_controlnet,
            "ControlNeXt": with_controlnext,
        }

    return calls
