"""The same numbers in less time, each for the length of a `with` block.

What helps depends on the device: `python scripts/benchmark.py denoising_step unet_savings`.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers.models.activations import GEGLU
from diffusers.models.attention import FeedForward
from torch import Tensor, nn

from temporal.chunked.chunks import Chunks, spans
from temporal.chunked.context import chunked
from temporal.chunked.convolution import convolve_over_time, is_over_time
from temporal.wrapping import override_forward

CACHED_GATE = 8 * 2**20
"""Bytes of a gate at a time that stay within a CPU's caches, and keep its products large."""
CACHED_HIDDEN = 5 * 2**19
"""Bytes of hidden states that do, with what a block makes of them."""


@contextmanager
def tuned_for_cpu(unet: nn.Module, chunks: Chunks | None, *others: nn.Module) -> Iterator[None]:
    """A video UNet with everything on that takes a CPU less time (`unet_savings` measures it).

    Args:
        unet: a diffusers `UNetSpatioTemporalConditionModel`; restored at the end.
        chunks: from `cached_chunks`; None where it works in other pieces already.
        others: networks of few channels and large maps that run beside it; restored, too.
    """
    with ExitStack() as stack:
        stack.enter_context(freed_memory_kept())
        if chunks is not None:
            stack.enter_context(chunked(unet, chunks, clamp=True))
        stack.enter_context(convolutions_in_2d(unet))
        stack.enter_context(gates_in_place(unet, piece=CACHED_GATE))
        stack.enter_context(channels_last(*others))
        yield


def cached_chunks(unet: nn.Module, *, window: int, pixels: int) -> Chunks:
    """Pieces of a window that stay within a CPU's caches; a small network's are all there is.

    Args:
        unet: whose widest pictures, those of its first level, are cut.
        window: frames that go through it together.
        pixels: height times width of their latents.
    """
    network: Any = unet
    width = network.config["block_out_channels"][0] * network.dtype.itemsize
    places = max(1, CACHED_HIDDEN // width)
    return Chunks(
        frames=max(1, places // pixels) if places < window * pixels else None,
        pixels=max(1, places // window) if places < window * pixels else None,
    )


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
def channels_last(*networks: nn.Module) -> Iterator[None]:
    """Kernels of two-dimensional convolutions lie channels last, and so do the maps they give.

    It is the order that a CPU computes in, so maps need not be copied into it and back, most of all
    in bfloat16. It is for networks of large maps and small kernels: a UNet's wide kernels over
    small maps lose in float32 what the others gain, and a copy of them would be large. Exact up to
    the order of the sums; 8-bit kernels are left alone.
    """
    kernels = [
        module.weight
        for network in networks
        for module in network.modules()
        if type(module) is nn.Conv2d and module.weight.is_floating_point()
    ]
    try:
        for kernel in kernels:
            kernel.data = kernel.data.contiguous(memory_format=torch.channels_last)
        yield
    finally:
        for kernel in kernels:
            kernel.data = kernel.data.contiguous()


@contextmanager
def gates_in_place(*networks: nn.Module, piece: int | None = None) -> Iterator[None]:
    """Gated feed-forward layers make their gate first and multiply into it.

    The stock layer makes both halves in one wide tensor, reads them again for the gate and once
    more for the product. For inference: with gradients enabled the stock forward runs.

    Args:
        networks: whose `FeedForward` layers, as far as they are plain, are wrapped.
        piece: bytes of gate at a time; on a CPU those that stay within its caches, which is where
            the time is won (`CACHED_GATE`). None for all.
    """
    with ExitStack() as stack:
        for network in networks:
            for module in network.modules():
                if isinstance(module, FeedForward) and is_plain_gate(module):
                    override_forward(stack, module, _gated(module, piece))
        yield


def is_plain_gate(layer: FeedForward) -> bool:
    """True for a gated layer whose linear layers nothing else has taken hold of."""
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


def _gated(layer: FeedForward, piece: int | None) -> Callable[[Tensor], Tensor]:
    stock = layer.forward
    wide, narrow = layer.net[0].proj, layer.net[2]
    half = wide.out_features // 2

    def forward(hidden_states: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            result: Tensor = stock(hidden_states)
            return result
        flat = hidden_states.flatten(0, -2)
        result = flat.new_empty(len(flat), narrow.out_features)
        tokens = None if piece is None else max(1, piece // (half * flat.element_size()))
        for start, stop in spans(len(flat), tokens):
            part = flat[start:stop]
            gate = nn.functional.linear(part, wide.weight[half:], wide.bias[half:])
            gate = nn.functional.gelu(gate)
            gate.mul_(nn.functional.linear(part, wide.weight[:half], wide.bias[:half]))
            torch.addmm(narrow.bias, gate, narrow.weight.t(), out=result[start:stop])
        return result.unflatten(0, hidden_states.shape[:-1])

    return forward


_LARGEST_HEAP_BLOCK = 32 * 2**20
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_keepers = 0
_keepers_lock = threading.Lock()


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Host memory that is freed stays with this process until the end, for the next of its size.

    By default glibc hands large blocks back to the kernel at once, which maps and clears them anew,
    page by page, for the next layer. Blocks of more than 32 MiB, the most that glibc's heap is made
    for, still go. At the end glibc is left as it sets itself after such blocks, and what is free
    goes back. Other C libraries are left alone. May be nested, and entered by several threads.
    """
    _count_keepers(1)
    try:
        yield
    finally:
        _count_keepers(-1)


def _count_keepers(change: int) -> None:
    global _keepers
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):
        return
    with _keepers_lock:
        before, _keepers = _keepers, _keepers + change
        if before == 0:
            libc.mallopt(_MMAP_THRESHOLD, _LARGEST_HEAP_BLOCK)
            libc.mallopt(_TRIM_THRESHOLD, -1)
        elif _keepers == 0:
            libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_HEAP_BLOCK)
            libc.malloc_trim(0)


@contextmanager
def compiled(network: nn.Module, **options: Any) -> Iterator[None]:
    """Calls of the network go through `torch.compile`; the first one takes minutes.

    Before it the network is called once as it is, for what layers keep from call to call: code is
    compiled anew when that is there all at once. No result is of that call, so all are compiled.
    Enter everything else that wraps or hooks the network first: compiled code does not see what
    comes later.

    Args:
        network: called as before, within.
        options: of `torch.compile`, e.g. `mode="reduce-overhead"`.
    """
    before = network._compiled_call_impl

    def first(*args: Any, **named: Any) -> Any:
        network._compiled_call_impl = before
        network(*args, **named)
        network.compile(**options)
        return network(*args, **named)

    network._compiled_call_impl = first
    try:
        yield
    finally:
        network._compiled_call_impl = before
