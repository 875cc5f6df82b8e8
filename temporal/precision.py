"""In which numbers a network computes and is stored.

Weight-only 8-bit: kernels are kept as whole numbers from -127 to 127 with one scale for each
output channel, and turned into the computing type when they are used. It halves float16 weights
and changes the result a little; biases, norms and everything small stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import torch
from torch import Tensor, nn

from temporal.chunked.convolution import convolve_over_time
from temporal.errors import TemporalError
from temporal.kinds import Precision

_SMALL = 4096  # elements; below, scales and overhead outweigh what is saved


def computing_type(precision: str) -> torch.dtype:
    """The type in which a precision computes; 8-bit weights have none of their own.

    Raises:
        TemporalError: there is no such precision, or it is of weights only.
    """
    types = [name for name in get_args(Precision) if name != "int8"]
    if precision not in types:
        raise TemporalError(f"nothing computes in {precision!r}; there are {', '.join(types)}")
    dtype: torch.dtype = getattr(torch, precision)
    return dtype


def quantise_weights(network: nn.Module) -> nn.Module:
    """Turn a network's large kernels into 8-bit ones, for good.

    Put the network into the computing type first. A second time does nothing.

    Returns:
        The same network.
    """
    module: Any
    for module in network.modules():
        if _is_quantisable(module) and module.weight.is_floating_point():
            _quantise(module)
    return network


def float_weight(module: Any, weight: Tensor) -> None:
    """Give a layer this kernel, and take off again what made its own 8-bit, if anything did."""
    if not module.weight.is_floating_point():
        del module.weight_scale
        del vars(module)["forward"]
        module.weight = nn.Parameter(weight, requires_grad=False)
    else:
        module.weight.data = weight


def _is_quantisable(module: Any) -> bool:
    plain = type(module) in (nn.Linear, nn.Conv2d, nn.Conv3d)
    return plain and module.weight.numel() >= _SMALL


def _quantise(module: Any) -> None:
    weight = module.weight.data
    shape = (-1, *[1] * (weight.ndim - 1))
    largest = weight.flatten(1).abs().amax(1).float().clamp_min(1e-12)
    scale = (largest / 127).view(shape)
    numbers = (weight.float() / scale).round_().to(torch.int8)
    module.weight = nn.Parameter(numbers, requires_grad=False)
    module.register_buffer("weight_scale", scale, persistent=False)
    vars(module)["forward"] = _dequantising(module)


def _dequantising(module: Any) -> Callable[[Tensor], Tensor]:
    """The module's forward with its kernel in the type of what comes in."""

    def kernel(dtype: torch.dtype) -> Tensor:
        return (module.weight * module.weight_scale).to(dtype)

    if isinstance(module, nn.Linear):
        return lambda values: nn.functional.linear(values, kernel(values.dtype), module.bias)
    if isinstance(module, nn.Conv3d) and module.kernel_size[1:] == (1, 1):

        def over_time(clip: Tensor) -> Tensor:
            result = convolve_over_time(module, clip.flatten(3), kernel(clip.dtype))
            return result.unflatten(3, clip.shape[3:])

        return over_time
    return lambda values: module._conv_forward(values, kernel(values.dtype), module.bias)
