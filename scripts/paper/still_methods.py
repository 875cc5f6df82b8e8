"""Ways to control a still, at full size: parameters, the time of a step, and memory.

ControlNet, T2I-Adapter and IP-Adapter are diffusers' own; weights are random, and one conditional
call of Stable Diffusion 1.5's UNet is a step. All are run in turn in one process. The networks of
T2I-Adapter and the image prompt's encoder run once for a picture and are not part of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from animate.models.components import build_control_network
from animate.models.injection import inject, learned_weight
from animate.models.stills import load_still_design
from scripts.benchmarks._networks import filled
from scripts.benchmarks.rows import both_clocks
from scripts.paper.counts import TRAINED, size
from scripts.paper.figures import StepSize, StillMethod, Stills
from scripts.paper.published_networks import make_base, make_controlnet
from scripts.paper.steps import QUICK, percent

BASE = "SD1.5"
SIZE = StepSize(width=256, height=256)
DESIGN = "controlnext-sd15"
ROUNDS = 3
_PROMPT_TOKENS, _PROMPT_WIDTH = 77, 768
_IMAGE_TOKENS, _IMAGE_WIDTH = 4, 1024
"""Tokens of an image prompt, and the width of its encoder (CLIP ViT-H), as published."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way of control on a UNet: what it adds, and a step with it."""

    networks: tuple[nn.Module, ...]
    """Networks beside the UNet."""
    added: int
    """Parameters beside the base's."""
    learned: int
    """Parameters that training changes."""
    in_step: int
    """Parameters of networks that run at every step, beside the base's."""
    step: Callable[[], Tensor]
    unet: Any


@torch.no_grad()
def measure(toy: bool = False, dtype: torch.dtype = torch.bfloat16) -> Stills:
    """Figures of every method, the base without control first."""
    torch.set_num_threads(1)
    shape = QUICK if toy else SIZE
    with ExitStack() as stack:
        methods = _methods(shape, dtype, toy, stack)
        seconds = both_clocks({name: way.step for name, way in methods.items()}, repeats=ROUNDS)
        peaks = {
            name: _bytes((way.unet, *way.networks)) + allocated_peak(way.step)
            for name, way in methods.items()
        }
    base_size = size(make_meta(toy))
    rows = tuple(
        StillMethod(
            method=name,
            total=base_size + way.added,
            learned=way.learned,
            in_step=way.in_step,
            cpu=round(seconds[name].cpu, 3),
            wall=round(seconds[name].wall, 3),
            cpu_percent=percent(seconds[name].cpu, seconds["base"].cpu),
            peak_bytes=peaks[name],
        )
        for name, way in methods.items()
    )
    precision = str(dtype).removeprefix("torch.")
    return Stills(rows=rows, size=shape, rounds=ROUNDS, precision=precision)


def allocated_peak(run: Callable[[], object]) -> int:
    """Bytes that `run` has allocated on the host at most, by torch's own record of allocations."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    assert record.profiler is not None
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return peak


def _bytes(networks: Iterable[nn.Module]) -> int:
    return sum(p.numel() * p.element_size() for net in networks for p in net.parameters())


def make_meta(toy: bool) -> Any:
    """The base's UNet without memory."""
    with torch.device("meta"):
        return make_base(BASE, toy)


def _methods(shape: StepSize, dtype: torch.dtype, toy: bool, stack: ExitStack) -> dict[str, Method]:
    unet = filled(lambda: make_base(BASE, toy), dtype)
    generator = torch.Generator().manual_seed(1)

    def draw(*sizes: int) -> Tensor:
        return torch.randn(sizes, generator=generator).to(dtype)

    inputs: dict[str, Any] = {
        "sample": draw(1, 4, shape.height // 8, shape.width // 8),
        "timestep": torch.tensor(500),
        "encoder_hidden_states": draw(1, _PROMPT_TOKENS, _PROMPT_WIDTH),
        "return_dict": False,
    }
    picture = torch.rand(1, 3, shape.height, shape.width, generator=generator).to(dtype)
    base = Method(
        networks=(), added=0, learned=size(unet), in_step=0, step=lambda: unet(**inputs)[0],
        unet=unet,
    )  # fmt: skip
    return {
        "base": base,
        "ControlNet": _controlnet(unet, inputs, picture, dtype, toy),
        "T2I-Adapter": _t2i_adapter(unet, inputs, picture, dtype),
        "ControlNeXt": _controlnext(unet, inputs, picture, dtype, stack),
        "IP-Adapter": _ip_adapter(inputs, draw, dtype, toy),
    }


def _controlnet(unet: Any, inputs: Any, picture: Tensor, dtype: torch.dtype, toy: bool) -> Method:
    outline = make_meta(toy)
    copy = filled(lambda: make_controlnet(BASE, outline), dtype)

    def step() -> Tensor:
        skips, middle = copy(**inputs, controlnet_cond=picture)
        result: Tensor = unet(
            **inputs, down_block_additional_residuals=skips, mid_block_additional_residual=middle
        )[0]
        return result

    count = size(copy)
    return Method(networks=(copy,), added=count, learned=count, in_step=count, step=step, unet=unet)


def _t2i_adapter(unet: Any, inputs: Any, picture: Tensor, dtype: torch.dtype) -> Method:
    from diffusers import T2IAdapter

    channels = list(unet.config.block_out_channels)
    adapter = filled(
        lambda: T2IAdapter(in_channels=3, channels=channels, num_res_blocks=2, downscale_factor=8),
        dtype,
    )
    features = adapter(picture)

    def step() -> Tensor:
        residuals = [feature.clone() for feature in features]  # the UNet adds to them in place
        result: Tensor = unet(**inputs, down_intrablock_additional_residuals=residuals)[0]
        return result

    count = size(adapter)
    return Method(networks=(adapter,), added=count, learned=count, in_step=0, step=step, unet=unet)


def _controlnext(
    unet: Any, inputs: Any, picture: Tensor, dtype: torch.dtype, stack: ExitStack
) -> Method:
    design = load_still_design(DESIGN)
    channels = unet.config.block_out_channels[-1]
    config = replace(design.controlnext, out_channels=channels)
    network = filled(lambda: build_control_network(config), dtype)
    weight = learned_weight(design.injection, network)
    port = stack.enter_context(inject(unet, design.injection, weight))

    def step() -> Tensor:
        port.control = network(picture[:, None], inputs["timestep"])
        try:
            result: Tensor = unet(**inputs)[0]
            return result
        finally:
            port.control = None

    count = size(network)
    outputs = sum(p.numel() for name, p in unet.named_parameters() if TRAINED[BASE](name))
    return Method(
        networks=(network,), added=count, learned=count + outputs, in_step=count, step=step,
        unet=unet,
    )  # fmt: skip


def _ip_adapter(inputs: Any, draw: Callable[..., Tensor], dtype: torch.dtype, toy: bool) -> Method:
    """On a UNet of its own, since diffusers' loader changes it."""
    unet = filled(lambda: make_base(BASE, toy), dtype)
    before = size(unet)
    pipe = load_still_design(DESIGN).assemble(unet=unet, vae=None, scheduler=None)
    pipe.load_ip_adapter(
        _ip_tensors(unet, draw), subfolder="", weight_name="", image_encoder_folder=None
    )
    count = size(unet) - before
    embeds = {"image_embeds": [draw(1, 1, _IMAGE_WIDTH)]}
    return Method(
        networks=(), added=count, learned=count, in_step=count,
        step=lambda: unet(**inputs, added_cond_kwargs=embeds)[0], unet=unet,
    )  # fmt: skip


def _ip_tensors(unet: Any, draw: Callable[..., Tensor]) -> dict[str, dict[str, Tensor]]:
    """Random weights in the published layout of the adapter."""
    layers = {}
    for number, name in enumerate(unet.attn_processors):
        if "attn2" in name:
            width = unet.get_submodule(name.removesuffix(".processor")).to_q.out_features
            for part in ("k", "v"):
                layers[f"{number}.to_{part}_ip.weight"] = draw(width, _PROMPT_WIDTH) * 0.02
    projection = {
        "proj.weight": draw(_IMAGE_TOKENS * _PROMPT_WIDTH, _IMAGE_WIDTH) * 0.02,
        "proj.bias": draw(_IMAGE_TOKENS * _PROMPT_WIDTH) * 0.02,
        "norm.weight": torch.ones(_PROMPT_WIDTH),
        "norm.bias": torch.zeros(_PROMPT_WIDTH),
    }
    return {"image_proj": projection, "ip_adapter": layers}
