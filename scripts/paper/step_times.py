"""Time of one denoising step at full size: the base, with ControlNet, with ControlNeXt.

Random weights, one conditional call of the UNet, no guidance; the three are run in turn in one
process, and medians of wall time and of processor time are taken.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from animate.models.injection import inject
from scripts.benchmarks._networks import filled, guided_inputs
from scripts.benchmarks._timing import both_clocks
from scripts.paper.baselines.controlnet import add_residuals
from scripts.paper.published_networks import BASES, make_base, make_controlnet, make_controlnext

PUBLISHED = {"ControlNet": 41.9, "ControlNeXt": 10.4}
"""The paper's mean growth of the time of a step, per cent."""


@dataclass(frozen=True, kw_only=True)
class StepSize:
    """What one step computes."""

    width: int
    """Of the picture in pixels."""
    height: int
    frames: int = 1


SIZES = {
    "SD1.5": StepSize(width=512, height=512),
    "SDXL": StepSize(width=512, height=512),
    "SVD": StepSize(width=320, height=192, frames=8),
}
QUICK = StepSize(width=64, height=64, frames=2)


def measure(
    bases: Sequence[str] = BASES, *, repeats: int = 3, dtype: torch.dtype = torch.bfloat16,
    quick: bool = False, say: Any = print,
) -> dict[str, Any]:  # fmt: skip
    """Seconds of every base and method."""
    torch.set_num_threads(1)
    rows = []
    for base in bases:
        size = SIZES[base] if not quick else QUICK
        rows += _measure(base, size, repeats, dtype, quick)
        for row in rows[-3:]:
            say(f"{base}, {row['method']}: {row['cpu']:.2f} s, {row['cpu_percent']:+.1f} %")
        gc.collect()
    means = {
        method: sum(r["cpu_percent"] for r in rows if r["method"] == method) / len(bases)
        for method in PUBLISHED
    }
    return {
        "rows": rows,
        "mean_percent": {name: round(value, 1) for name, value in means.items()},
        "published_percent": PUBLISHED,
        "precision": str(dtype).removeprefix("torch."),
        "repeats": repeats,
    }


@torch.no_grad()
def _measure(
    base: str, size: StepSize, repeats: int, dtype: torch.dtype, toy: bool
) -> list[dict[str, Any]]:
    unet = filled(lambda: make_base(base, toy), dtype)
    with torch.device("meta"):
        outline = make_base(base, toy)
    copy = filled(lambda: make_controlnet(base, outline), dtype)
    channels = outline.config.block_out_channels[0]
    control = filled(lambda: make_controlnext("later", channels), dtype)
    step = (_clip_step if base == "SVD" else _image_step)(base, size, dtype)
    frames = torch.rand(1, _frames(base, size), 3, size.height, size.width).to(dtype)
    with ExitStack() as stack:
        calls = step(unet, copy, control, frames, stack)
        seconds = both_clocks(calls, repeats=repeats)
    rows = []
    for method, taken in seconds.items():
        rows.append(
            {
                "base": base, **asdict(size), "method": method,
                "cpu": round(taken.cpu, 3), "wall": round(taken.wall, 3),
                "cpu_percent": _percent(taken.cpu, seconds["base"].cpu),
                "wall_percent": _percent(taken.wall, seconds["base"].wall),
            }
        )  # fmt: skip
    return rows


def _frames(base: str, size: StepSize) -> int:
    return size.frames if base == "SVD" else 1


def _percent(value: float, baseline: float) -> float:
    return round(100 * (value / baseline - 1), 1)


Calls = dict[str, Callable[[], Tensor]]


def _image_step(base: str, size: StepSize, dtype: torch.dtype) -> Callable[..., Calls]:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    width = {"SD1.5": 768, "SDXL": 2048}[base]
    inputs: dict[str, Any] = {
        "sample": draw(1, 4, size.height // 8, size.width // 8),
        "timestep": torch.tensor(500),
        "encoder_hidden_states": draw(1, 77, width),
        "return_dict": False,
    }
    if base == "SDXL":
        ids = torch.tensor([[size.height, size.width, 0, 0, size.height, size.width]])
        inputs["added_cond_kwargs"] = {"text_embeds": draw(1, 1280), "time_ids": ids.to(dtype)}

    def calls(unet: Any, copy: Any, control: Any, frames: Tensor, stack: ExitStack) -> Calls:
        port = stack.enter_context(inject(unet, "down", 1.0))

        def with_controlnet() -> Tensor:
            skips, middle = copy(**inputs, controlnet_cond=frames[0])
            result: Tensor = unet(
                **inputs,
                down_block_additional_residuals=skips,
                mid_block_additional_residual=middle,
            )[0]
            return result

        return {
            "base": lambda: unet(**inputs)[0],
            "ControlNet": with_controlnet,
            "ControlNeXt": lambda: _controlled(unet, port, control, frames, inputs),
        }

    return calls


def _clip_step(_base: str, size: StepSize, dtype: torch.dtype) -> Callable[..., Calls]:
    inputs = guided_inputs(
        frames=size.frames, size=(size.width, size.height), dtype=dtype, halves=1
    )

    def calls(unet: Any, copy: Any, control: Any, frames: Tensor, stack: ExitStack) -> Calls:
        port = stack.enter_context(inject(unet, "down", 0.2))
        residuals = stack.enter_context(add_residuals(unet))
        known = ("encoder_hidden_states", "added_time_ids")

        def with_controlnet() -> Tensor:
            own = [inputs["sample"], inputs["timestep"].reshape(1), *(inputs[k] for k in known)]
            residuals.set(copy(*own, frames))
            try:
                result: Tensor = unet(**inputs)[0]
                return result
            finally:
                residuals.set(None)

        return {
            "base": lambda: unet(**inputs)[0],
            "ControlNet": with_controlnet,
            "ControlNeXt": lambda: _controlled(unet, port, control, frames, inputs),
        }

    return calls


def _controlled(
    unet: Any, port: Any, control: Any, frames_BF3HW: Tensor, inputs: dict[str, Any]
) -> Tensor:
    port.control = control(frames_BF3HW, inputs["timestep"])
    try:
        result: Tensor = unet(**inputs)[0]
        return result
    finally:
        port.control = None
