"""Matrices packed once for a processor, for the length of a `with` block.

By default a product in float32 orders its matrix anew at every call; over the small maps of a
network's deep levels that takes as long as the product (`block_ways` measures it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers.models.attention import FeedForward
from torch import Tensor, nn

from temporal.chunked.chunks import spans
from temporal.errors import TemporalError
from temporal.speed import CACHED_GATE, is_plain_gate
from temporal.wrapping import override_forward


@contextmanager
def packed_products(*networks: nn.Module) -> Iterator[None]:
    """Linear layers in float32 multiply by matrices that lie as oneDNN's kernels read them.

    The packed copies take as much memory again as the matrices. Exact up to the order of the sums.
    For inference; layers of other types are left alone. Enter it after what cuts feed-forward
    layers into pieces: those that are plain run in pieces of their own, which fit the caches.
    Raises TemporalError where torch comes without oneDNN.
    """
    if not torch.backends.mkldnn.is_available():
        raise TemporalError("weights cannot be packed: this torch comes without oneDNN")
    with ExitStack() as stack:
        for module, forward in _forwards(networks).items():
            override_forward(stack, module, forward)
        yield


def _forwards(networks: tuple[nn.Module, ...]) -> dict[nn.Module, Callable[[Tensor], Tensor]]:
    modules = [module for network in networks for module in network.modules()]
    gates = [m for m in modules if isinstance(m, FeedForward) and is_plain_gate(m)]
    inside = {id(module) for gate in gates for module in gate.modules()}
    forwards = {gate: packed_gate(gate) for gate in gates if _packs(gate.net[2])}
    for module in modules:
        if type(module) is nn.Linear and _packs(module) and id(module) not in inside:
            forwards[module] = packed_product(module.weight, module.bias)
    return forwards


def _packs(layer: Any) -> bool:
    return layer.weight.dtype == torch.float32 and layer.weight.device.type == "cpu"


def reordered(matrix: Tensor) -> Tensor:
    """A copy of a matrix (out,in) as oneDNN's kernels read it."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(matrix.detach().contiguous())
    return packed


def packed_product(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    """Forward of a linear layer with a packed matrix."""
    matrix = reordered(weight)
    run = torch.ops.mkldnn._linear_pointwise

    def forward(input: Tensor) -> Tensor:  # some layers are called by that name
        result: Tensor = run(input, matrix, bias, "none", [], "")
        return result

    return forward


def packed_gate(layer: FeedForward) -> Callable[[Tensor], Tensor]:
    """Forward of a gated feed-forward layer with packed matrices, some tokens at a time."""
    projection: Any = layer.net[0]
    wide, narrow = projection.proj, layer.net[2]
    half = wide.out_features // 2
    value = packed_product(wide.weight[:half], wide.bias[:half])
    gate = packed_product(wide.weight[half:], wide.bias[half:])
    out = packed_product(narrow.weight, narrow.bias)
    tokens = max(1, CACHED_GATE // (half * narrow.weight.element_size()))

    def forward(hidden_states: Tensor) -> Tensor:
        flat = hidden_states.flatten(0, -2)
        pieces = [
            out(nn.functional.gelu(gate(part)).mul_(value(part)))
            for part in (flat[start:stop] for start, stop in spans(len(flat), tokens))
        ]
        return torch.cat(pieces).unflatten(0, hidden_states.shape[:-1])

    return forward
