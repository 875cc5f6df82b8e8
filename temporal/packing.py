"""Weights packed once for a processor, for the length of a `with` block.

By default a product or a convolution in float32 orders its weights anew at every call; over the
small maps of a network's deep levels a product's take as long as the product (`block_ways`
measures it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers.models.attention import FeedForward
from torch import Tensor, nn

from temporal.chunked.chunks import spans
from temporal.chunked.convolution import is_over_time
from temporal.errors import TemporalError
from temporal.speed import CACHED_GATE, is_plain_gate
from temporal.wrapping import override_forward


@contextmanager
def packed_weights(
    *networks: nn.Module, products: bool = True, convolutions: bool = True
) -> Iterator[None]:
    """Linear layers and convolutions in float32 run with weights as oneDNN's kernels read them.

    The packed weights take the place of the others, which are unpacked at the end, bit for bit;
    only weights in memory that is not their own, mapped or shared, stay beside them. Meanwhile
    nothing else can read the layers' weights. Exact up to the order of the sums. For inference;
    layers of other types are left alone, and so are convolutions that something else has taken
    hold of, but for those over time, which run as two-dimensional ones. Enter it after what cuts
    feed-forward layers into pieces: those that are plain run in pieces of their own, which fit the
    caches.

    Args:
        networks: whose weights are packed; restored at the end.
        products: pack matrices of linear layers.
        convolutions: pack kernels.

    Raises:
        TemporalError: this torch comes without oneDNN.
    """
    if not torch.backends.mkldnn.is_available():
        raise TemporalError("weights cannot be packed: this torch comes without oneDNN")
    modules = [module for network in networks for module in network.modules()]
    with ExitStack() as stack:
        if products:
            _pack_products(stack, modules)
        if convolutions:
            _pack_convolutions(stack, modules)
        yield


def _pack_products(stack: ExitStack, modules: list[nn.Module]) -> None:
    gates = [m for m in modules if isinstance(m, FeedForward) and is_plain_gate(m)]
    inside = {id(module) for gate in gates for module in gate.modules()}
    for gate in gates:
        if _packs(gate.net[2]):
            _pack_gate(stack, gate)
    for module in modules:
        if type(module) is nn.Linear and _packs(module) and id(module) not in inside:
            _pack_product(stack, module)


def _pack_convolutions(stack: ExitStack, modules: list[nn.Module]) -> None:
    for module in modules:
        if type(module) is nn.Conv2d and _packs(module) and _is_plain(module):
            _pack_convolution(stack, module)
        elif isinstance(module, nn.Conv3d) and is_over_time(module) and _packs(module):
            _pack_over_time(stack, module)


def _packs(layer: Any) -> bool:
    return layer.weight.dtype == torch.float32 and layer.weight.device.type == "cpu"


def _is_plain(conv: nn.Conv2d) -> bool:
    return (
        conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and "forward" not in vars(conv)
    )


def _pack_product(stack: ExitStack, layer: nn.Linear) -> None:
    """Pack a linear layer's matrix until the stack closes."""
    matrix = reordered(layer.weight)
    _let_go(stack, layer.weight, matrix)
    override_forward(stack, layer, _product(matrix, layer.bias))


def _pack_gate(stack: ExitStack, layer: FeedForward) -> None:
    """Pack a gated feed-forward layer's matrices until the stack closes; it runs some tokens at a
    time."""
    projection: Any = layer.net[0]
    wide, narrow = projection.proj, layer.net[2]
    half = wide.out_features // 2
    tokens = max(1, CACHED_GATE // (half * wide.weight.element_size()))
    halves = [reordered(rows) for rows in wide.weight.split(half)]
    matrix = reordered(narrow.weight)
    _let_go(stack, wide.weight, *halves)
    _let_go(stack, narrow.weight, matrix)
    value = _product(halves[0], wide.bias[:half])
    gate = _product(halves[1], wide.bias[half:])
    out = _product(matrix, narrow.bias)

    def forward(hidden_states: Tensor) -> Tensor:
        flat = hidden_states.flatten(0, -2)
        pieces = [
            out(nn.functional.gelu(gate(part)).mul_(value(part)))
            for part in (flat[start:stop] for start, stop in spans(len(flat), tokens))
        ]
        return torch.cat(pieces).unflatten(0, hidden_states.shape[:-1])

    override_forward(stack, layer, forward)


def _pack_convolution(stack: ExitStack, conv: nn.Conv2d) -> None:
    """Pack the kernel of a two-dimensional convolution until the stack closes."""
    shape = [[int(n) for n in pair] for pair in (conv.padding, conv.stride, conv.dilation)]
    override_forward(stack, conv, _convolution(stack, conv, conv.weight, shape))


def _pack_over_time(stack: ExitStack, conv: nn.Conv3d) -> None:
    """Pack the kernel of a convolution over time until the stack closes; it runs over
    (frames, pixels)."""
    shape = [[int(conv.padding[0]), 0], [conv.stride[0], 1], [conv.dilation[0], 1]]
    convolve = _convolution(stack, conv, conv.weight[..., 0], shape)

    def forward(clip_BCFHW: Tensor) -> Tensor:
        return convolve(clip_BCFHW.flatten(3)).unflatten(3, clip_BCFHW.shape[3:])

    override_forward(stack, conv, forward)


def reordered(matrix: Tensor) -> Tensor:
    """A copy of a matrix (out,in) as oneDNN's kernels read it."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(matrix.detach().contiguous())
    return packed


def _product(matrix: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    run = torch.ops.mkldnn._linear_pointwise

    def forward(input: Tensor) -> Tensor:  # some layers are called by that name
        result: Tensor = run(input, matrix, bias, "none", [], "")
        return result

    return forward


def _convolution(
    stack: ExitStack, conv: nn.Conv2d | nn.Conv3d, weight: Tensor, shape: list[list[int]]
) -> Callable[[Tensor], Tensor]:
    """A two-dimensional convolution by a packed copy of `weight`; shape: padding, stride and
    dilation, each of two axes."""
    bias, groups = conv.bias, conv.groups
    run = torch.ops.mkldnn._convolution_pointwise
    reorder = torch.ops.mkldnn._reorder_convolution_weight
    kernel = reorder(weight.detach().contiguous(), *shape, groups)
    _let_go(stack, conv.weight, kernel)

    def forward(input: Tensor) -> Tensor:
        result: Tensor = run(input, kernel, bias, *shape, groups, "none", [], "")
        return result

    return forward


def _let_go(stack: ExitStack, weight: Tensor, *packed: Tensor) -> None:
    """Free a weight until the stack closes, then unpack it from its rows.

    Memory that a file or another process owns is not freed by letting go of it.
    """
    storage, shape = weight.untyped_storage(), weight.shape
    if not storage.resizable() or storage.nbytes() != weight.nbytes:
        return

    def unpack() -> None:
        rows = [part.to_dense() for part in packed]
        weight.data = (rows[0] if len(rows) == 1 else torch.cat(rows)).reshape(shape)

    weight.data = weight.new_empty(0)
    stack.callback(unpack)
