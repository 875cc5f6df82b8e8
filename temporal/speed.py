"""The same numbers in less time, each for the length of a `with` block.

What helps depends on the device; `python scripts/benchmark.py unet_step` measures here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from temporal.chunked.convolution import convolve_over_time, is_over_time
from temporal.wrapping import override_forward


@contextmanager
def convolutions_in_2d(*networks: nn.Module) -> Iterator[None]:
    """Convolutions over time alone run as two-dimensional ones, over (frames, pixels).

    Exact up to the order of the sums. On a CPU a (3,1,1) kernel is several times slower in its
    three-dimensional form.
    """
    with ExitStack() as stack:
        for network in networks:
            for module in network.modules():
                if isinstance(module, nn.Conv3d) and is_over_time(module):
                    override_forward(stack, module, _in_2d(module))
        yield


def _in_2d(conv: nn.Conv3d) -> Callable[[Tensor], Tensor]:
    def forward(clip_BCFHW: Tensor) -> Tensor:
        result = convolve_over_time(conv, clip_BCFHW.flatten(3))
        return result.unflatten(3, clip_BCFHW.shape[3:])

    return forward


@contextmanager
def channels_last(*networks: nn.Module) -> Iterator[None]:
    """Kernels of convolutions lie channels last, and so do the pictures that they give.

    The values stay; the weights are laid out anew on entering and on leaving (their memory is
    needed twice, one weight at a time).
    """
    kernels = [
        weight
        for network in networks
        for module in network.modules()
        if isinstance(module, nn.Conv2d) or is_over_time(module)
        if isinstance(weight := module.weight, nn.Parameter)
    ]
    before = [kernel.stride() for kernel in kernels]
    try:
        for kernel in kernels:
            flat = kernel.data.flatten(3) if kernel.ndim == 5 else kernel.data
            flat = flat.contiguous(memory_format=torch.channels_last)
            kernel.data = flat.unsqueeze(-1) if kernel.ndim == 5 else flat
        yield
    finally:
        for kernel, stride in zip(kernels, before, strict=True):
            laid = torch.empty_strided(
                kernel.shape, stride, dtype=kernel.dtype, device=kernel.device
            )
            kernel.data = laid.copy_(kernel.data)


@contextmanager
def compiled(network: nn.Module, **options: Any) -> Iterator[None]:
    """Calls of the network go through `torch.compile`; the first one takes minutes.

    Enter everything else that wraps or hooks the network first: compiled code does not see what
    comes later.

    Args:
        network: called as before, within.
        options: of `torch.compile`, e.g. `mode="reduce-overhead"`.
    """
    before = network._compiled_call_impl
    network.compile(**options)
    try:
        yield
    finally:
        network._compiled_call_impl = before
