"""The same numbers in less time, each for the length of a `with` block.

What helps depends on the device; `python scripts/benchmark.py unet_step` measures here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers.models.activations import GEGLU
from diffusers.models.attention import FeedForward
from torch import Tensor, nn

from temporal.chunked.chunks import spans
from temporal.chunked.convolution import convolve_over_time, is_over_time
from temporal.wrapping import override_forward


@contextmanager
def convolutions_in_2d(*networks: nn.Module) -> Iterator[None]:
    """Convolutions over time alone run as two-dimensional ones, over (frames, pixels).

    Exact up to the order of the sums.
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
def gates_in_place(*networks: nn.Module, tokens: int | None = None) -> Iterator[None]:
    """Gated feed-forward layers make their gate first and multiply into it.

    The stock layer makes both halves in one wide tensor, reads them again for the gate and once
    more for the product. For inference: with gradients enabled the stock forward runs.

    Args:
        networks: whose `FeedForward` layers, as far as they are plain, are wrapped.
        tokens: tokens at a time; on a CPU a few hundred stay within its caches, which is where
            the time is won. None for all.
    """
    with ExitStack() as stack:
        for network in networks:
            for module in network.modules():
                if isinstance(module, FeedForward) and _is_plain_gate(module):
                    override_forward(stack, module, _gated(module, tokens))
        yield


def _is_plain_gate(layer: FeedForward) -> bool:
    if type(layer.net[0]) is not GEGLU or len(layer.net) != 3 or layer.net[1].p > 0:
        return False
    return all(
        type(linear) is nn.Linear
        and linear.weight.is_floating_point()
        and linear.bias is not None
        and "forward" not in vars(linear)
        and not linear._forward_hooks
        and not linear._forward_pre_hooks
        for linear in (layer.net[0].proj, layer.net[2])
    )


def _gated(layer: FeedForward, tokens: int | None) -> Callable[[Tensor], Tensor]:
    stock = layer.forward
    wide, narrow = layer.net[0].proj, layer.net[2]
    half = wide.out_features // 2

    def forward(hidden_states: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            result: Tensor = stock(hidden_states)
            return result
        flat = hidden_states.flatten(0, -2)
        result = flat.new_empty(len(flat), narrow.out_features)
        for start, stop in spans(len(flat), tokens):
            piece = flat[start:stop]
            gate = nn.functional.linear(piece, wide.weight[half:], wide.bias[half:])
            gate = nn.functional.gelu(gate)
            gate.mul_(nn.functional.linear(piece, wide.weight[:half], wide.bias[:half]))
            torch.addmm(narrow.bias, gate, narrow.weight.t(), out=result[start:stop])
        return result.unflatten(0, hidden_states.shape[:-1])

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
