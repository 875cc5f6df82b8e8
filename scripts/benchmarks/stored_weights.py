"""Weights stored in 8 bits: whole numbers with a scale (`--precision int8`) against float8.

Of the UNet's large kernels, on the bundled model: bytes, the error of the kernels, and that of one
prediction. diffusers' layer-wise casting and torchao's weight-only kinds store the same two; what
they add is speed on cards that multiply in float8.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from animate.models.components import load_components
from animate.models.variants import load_variant
from scripts.benchmarks.rows import Row
from temporal.precision import quantise_weights

_FLOAT8 = torch.float8_e4m3fn


def run(model: str = "tiny") -> list[Row]:
    unet = load_components(load_variant(model)).unet
    inputs = _inputs(unet)
    with torch.no_grad():
        exact = unet(**inputs)[0]
        rows = []
        integers = quantise_weights(copy.deepcopy(unet))
        kinds = {
            "int8 with a scale a channel": (integers, _from_int8(integers)),
            "float8 as it is (layer-wise casting)": _rounded(unet, scaled=False),
            "float8 with a scale a channel": _rounded(unet, scaled=True),
        }
        for name, (network, kernels) in kinds.items():
            errors = [
                float((kernels[key] - value).norm() / value.norm())
                for key, value in unet.named_parameters()
                if key in kernels
            ]
            difference = (network(**inputs)[0] - exact).norm() / exact.norm()
            rows.append(
                Row(
                    name=name,
                    value=100 * float(difference),
                    unit="%",
                    note=f"of a prediction; kernels differ by {100 * max(errors):.2f} % at most, "
                    f"{100 * sum(errors) / len(errors):.2f} % on average; {len(kernels)} kernels",
                )
            )
    return rows


def _inputs(unet: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    channels, width = unet.config.in_channels, unet.config.cross_attention_dim
    return {
        "sample": torch.randn(1, 8, channels, 18, 12, generator=generator),
        "timestep": torch.tensor(0.5),
        "encoder_hidden_states": torch.randn(1, 1, width, generator=generator),
        "added_time_ids": torch.tensor([[6.0, 127.0, 0.02]]),
        "return_dict": False,
    }


def _from_int8(network: nn.Module) -> dict[str, Tensor]:
    """Kernels that are stored in whole numbers, as they are used."""
    buffers = dict(network.named_buffers())
    return {
        name: value.float() * buffers[f"{name}_scale"]
        for name, value in network.named_parameters()
        if f"{name}_scale" in buffers
    }


def _rounded(unet: nn.Module, *, scaled: bool) -> tuple[nn.Module, dict[str, Tensor]]:
    """The network with the same kernels rounded to float8, and these kernels."""
    network = copy.deepcopy(unet)
    names = _from_int8(quantise_weights(copy.deepcopy(unet))).keys()
    kernels = {}
    for name, value in network.named_parameters():
        if name in names:
            shape = (-1, *[1] * (value.ndim - 1))
            largest = value.flatten(1).abs().amax(1).clamp_min(1e-12).view(shape)
            scale = largest / torch.finfo(_FLOAT8).max if scaled else torch.ones_like(largest)
            kernels[name] = (value / scale).to(_FLOAT8).float() * scale
            value.data = kernels[name]
    return network, kernels
