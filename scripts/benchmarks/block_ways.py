"""Ways that might save a CPU time in float32, tried on single blocks of the full-size UNet.

Each way takes turns with the same block as it runs today (convolutions over time as 2-D ones, gates
in place), call by call, so that a busy machine is busy for both. What a way does once for a clip
(packing, compiling) is not timed. The ratio is the median of the pairs' own in processor time, with
quartiles; the clock's median is in the note. `paired_step` measures a whole step.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_processor import Attention, FusedAttnProcessor2_0
from torch import Tensor, nn

from animate.request.values import Size
from scripts.benchmarks._networks import filled, make_unet
from scripts.benchmarks.control_overhead import make_toy_unet
from scripts.benchmarks.rows import Row
from temporal.packing import packed_weights
from temporal.speed import CACHED_GATE, channels_last, convolutions_in_2d, gates_in_place

FRAMES, SIZE = 4, Size(320, 192)
PAIRS = 4
BLOCKS = ("down_blocks.0", "down_blocks.2")
Way = Callable[[nn.Module], AbstractContextManager[Callable[..., Any]]]
"""Entered around a call of the block, it gives what is called in the block's place."""


def run(toy: bool = False, names: tuple[str, ...] = BLOCKS) -> list[Row]:
    """The rows; with `toy`, of a network and a clip that a test can run."""
    if toy:
        return measure(make_toy_unet, "down_blocks.0", 2, Size(64, 64), 1, ways(compiling=False))
    return [row for name in names for row in measure(make_unet, name, FRAMES, SIZE, PAIRS, ways())]


def ways(*, compiling: bool = True) -> Mapping[str, Callable[[], Way]]:
    """Makers of each way, by name; a way keeps what it packs or compiles of one block."""
    known: dict[str, Callable[[], Way]] = {
        "channels last": lambda: _channels_last,
        "packed convolutions": lambda: packed(products=False),
        "packed products": lambda: packed(convolutions=False),
        "both packed": packed,
        "fused projections": lambda: Fused(),
    }
    if compiling:
        known["compiled with freezing"] = lambda: Compiled()
    return known


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Arguments of a block."""

    args: tuple[Any, ...]
    named: Mapping[str, Any]


@torch.no_grad()
def measure(
    make: Callable[[], Any],
    name: str,
    frames: int,
    size: Size,
    pairs: int,
    known: Mapping[str, Callable[[], Way]],
) -> list[Row]:
    """A row for each way of one block."""
    block = filled(lambda: make().get_submodule(name))
    inputs = guided(make, name, frames, size)
    rows = []
    with convolutions_in_2d(block), gates_in_place(block, piece=CACHED_GATE):
        for title, way in known.items():
            rows.append(compare(f"{name}, {title}", block, inputs, way(), pairs))
    return rows


def guided(make: Callable[[], Any], name: str, frames: int, size: Size) -> Inputs:
    """Random inputs of a down block, of both guidance halves of a window."""
    with torch.device("meta"):
        config = make().config
    level = int(name.rpartition(".")[-1])
    widths, generator = config["block_out_channels"], torch.Generator().manual_seed(0)
    scale = 8 << level
    shape = (2 * frames, widths[max(0, level - 1)], size.height // scale, size.width // scale)
    return Inputs(
        args=(torch.randn(shape, generator=generator),),
        named={
            "temb": torch.randn(2 * frames, 4 * widths[0], generator=generator),
            "encoder_hidden_states": torch.randn(
                2 * frames, 1, config["cross_attention_dim"], generator=generator
            ),
            "image_only_indicator": torch.zeros(2, frames),
        },
    )


def compare(title: str, block: nn.Module, inputs: Inputs, way: Way, pairs: int) -> Row:
    """The way against the block as it is, after a pair that is not counted."""
    cpu, wall, results = [], [], []
    for number in range(pairs + 1):
        spent: dict[str, tuple[float, float]] = {}
        for which in ("now", "way") if number % 2 else ("way", "now"):
            if which == "now":
                spent[which], result = timed(block, inputs)
            else:
                with way(block) as call:
                    spent[which], result = timed(call, inputs)
            results.append((which, first_tensor(result)) if number == 0 else None)
        if number:
            cpu.append((spent["now"][1], spent["way"][1]))
            wall.append((spent["now"][0], spent["way"][0]))
    outputs = dict(entry for entry in results if entry is not None)
    difference = (outputs["way"] - outputs["now"]).abs().max() / outputs["now"].abs().max()
    ratios = [mine / now for now, mine in cpu]
    clocks = [mine / now for now, mine in wall]
    low, _, high = (
        statistics.quantiles(ratios, n=4, method="inclusive") if pairs > 1 else ratios * 3
    )
    return Row(
        name=title,
        value=statistics.median(mine for _, mine in cpu),
        unit="s",
        baseline=statistics.median(now for now, _ in cpu),
        ratio=statistics.median(ratios),
        note=(
            f"{pairs} pairs, quartiles {low:.3f} and {high:.3f}; clock "
            f"{statistics.median(clocks):.3f}; outputs differ by {float(difference):.1e}"
        ),
    )


def timed(call: Callable[..., Any], inputs: Inputs) -> tuple[tuple[float, float], Any]:
    """Seconds of a call by the clock and of the processor, and its result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call(*inputs.args, **inputs.named)
    return (time.perf_counter() - wall, time.process_time() - cpu), result


def first_tensor(result: Any) -> Tensor:
    """The hidden states of a block's result."""
    return result if isinstance(result, Tensor) else result[0]


@contextmanager
def _channels_last(block: nn.Module) -> Iterator[Callable[..., Any]]:
    with channels_last(block):
        yield block


def packed(*, products: bool = True, convolutions: bool = True) -> Way:
    """Weights in the order that oneDNN's own kernels read, instead of at every call."""

    @contextmanager
    def way(block: nn.Module) -> Iterator[Callable[..., Any]]:
        with packed_weights(block, products=products, convolutions=convolutions):
            yield block

    return way


class Fused:
    """Queries, keys and values of self-attention by one product."""

    def __init__(self) -> None:
        self._layers: list[Attention] = []

    @contextmanager
    def __call__(self, block: nn.Module) -> Iterator[Callable[..., Any]]:
        if not self._layers:
            self._layers = [
                module
                for name, module in block.named_modules()
                if name.endswith("attn1") and isinstance(module, Attention)
            ]
            for layer in self._layers:
                layer.fuse_projections()
        before = [layer.processor for layer in self._layers]
        for layer in self._layers:
            layer.processor = FusedAttnProcessor2_0()
        try:
            yield block
        finally:
            for layer, processor in zip(self._layers, before, strict=True):
                layer.processor = processor


class Compiled:
    """The block through `torch.compile`, its weights frozen into the code."""

    def __init__(self) -> None:
        self._call: Callable[..., Any] | None = None

    @contextmanager
    def __call__(self, block: nn.Module) -> Iterator[Callable[..., Any]]:
        from torch._inductor import config

        with config.patch(freezing=True):
            if self._call is None:
                self._call = torch.compile(block, dynamic=False)
            yield self._call
