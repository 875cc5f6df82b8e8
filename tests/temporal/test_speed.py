from __future__ import annotations

import platform
import resource
from typing import Any

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from torch import nn

from temporal.chunked import Chunks, chunked
from temporal.constant_attention import constant_cross_attention
from temporal.precision import quantise_weights
from temporal.speed import (
    cached_chunks,
    channels_last,
    compiled,
    convolutions_in_2d,
    freed_memory_kept,
    gates_in_place,
    tuned_for_cpu,
)
from tests.temporal.networks import unet_inputs, worst


@torch.no_grad()
def test_two_dimensional_convolutions_change_nothing(unet: Any) -> None:
    inputs = unet_inputs()
    theirs = unet(**inputs)[0]
    with convolutions_in_2d(unet):
        assert worst(unet(**inputs)[0], theirs) < 1e-5
    assert torch.equal(unet(**inputs)[0], theirs)


@torch.no_grad()
def test_what_a_cpu_likes_changes_nothing(unet: Any) -> None:
    inputs = unet_inputs()
    theirs = unet(**inputs)[0]
    for chunks in (None, Chunks(frames=1, pixels=7)):
        with tuned_for_cpu(unet, chunks):
            assert worst(unet(**inputs)[0], theirs) < 1e-5
        assert torch.equal(unet(**inputs)[0], theirs)


@torch.no_grad()
def test_channels_last_changes_nothing(unet: Any, vae: Any) -> None:
    inputs, latents = unet_inputs(), torch.randn(2, 4, 5, 7)
    theirs = unet(**inputs)[0], vae.decode(latents, num_frames=2).sample
    kernel = vae.decoder.conv_in.weight
    with channels_last(unet, vae):
        assert kernel.is_contiguous(memory_format=torch.channels_last)
        assert worst(unet(**inputs)[0], theirs[0]) < 1e-5
        assert worst(vae.decode(latents, num_frames=2).sample, theirs[1]) < 1e-5
    assert kernel.is_contiguous()
    assert torch.equal(unet(**inputs)[0], theirs[0])
    assert torch.equal(vae.decode(latents, num_frames=2).sample, theirs[1])


@torch.no_grad()
def test_channels_last_leaves_8_bit_kernels_alone() -> None:
    convolution = quantise_weights(nn.Conv2d(16, 32, 3))
    picture = torch.randn(1, 16, 9, 9)
    theirs = convolution(picture)
    with channels_last(convolution):
        assert torch.equal(convolution(picture), theirs)


def test_pieces_for_a_cpu_are_those_of_a_wide_network(unet: Any) -> None:
    with torch.device("meta"):
        wide = UNetSpatioTemporalConditionModel()
    assert cached_chunks(unet, window=8, pixels=96) == Chunks()
    assert cached_chunks(wide, window=8, pixels=960) == Chunks(frames=2, pixels=256)
    assert cached_chunks(wide, window=24, pixels=9216) == Chunks(frames=1, pixels=85)
    assert cached_chunks(wide.bfloat16(), window=24, pixels=9216) == Chunks(frames=1, pixels=170)


@pytest.mark.parametrize("piece", [None, 1, 37_000, 10_000_000])
@torch.no_grad()
def test_gates_in_place_change_nothing(unet: Any, piece: int | None) -> None:
    inputs = unet_inputs()
    theirs = unet(**inputs)[0]
    with gates_in_place(unet, piece=piece):
        assert worst(unet(**inputs)[0], theirs) < 1e-5
        with chunked(unet, Chunks(frames=3, pixels=13, tokens=100)):
            assert worst(unet(**inputs)[0], theirs) < 1e-5
    assert torch.equal(unet(**inputs)[0], theirs)


def test_gates_in_place_leave_training_alone(unet: Any) -> None:
    layer = unet.mid_block.attentions[0].transformer_blocks[0].ff
    values = torch.randn(2, 3, 64, requires_grad=True)
    with gates_in_place(unet):
        layer(values).sum().backward()
    assert values.grad is not None
    assert float(values.grad.abs().sum()) > 0


BLOCK, BLOCKS, ROUNDS = 12 * 2**20, 16, 10
PAGES = BLOCK * BLOCKS // resource.getpagesize()


def pages_taken(rounds: int) -> int:
    """Pages that the kernel maps while the same blocks are made and freed again and again."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        blocks = [torch.ones(BLOCK // 4) for _ in range(BLOCKS)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident() -> int:
    """Pages of this process that are in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's heap is what is set")
def test_freed_memory_is_mapped_once_and_goes_back_at_the_end() -> None:
    with freed_memory_kept():
        pages_taken(2)
        with freed_memory_kept():
            pass  # what ends within does not end it
        assert pages_taken(ROUNDS) < 0.05 * ROUNDS * PAGES
        held = resident()
    assert held - resident() > 0.8 * PAGES


@torch.no_grad()
def test_what_layers_keep_is_there_before_anything_is_compiled(unet: Any) -> None:
    inputs, graphs = unet_inputs(), []

    def backend(graph: torch.fx.GraphModule, given: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    with constant_cross_attention(unet):
        theirs = unet(**inputs)[0]
    torch._dynamo.reset()
    with constant_cross_attention(unet), compiled(unet, backend=backend):
        assert worst(unet(**inputs)[0], theirs) < 1e-5
        first = len(graphs)
        assert worst(unet(**inputs)[0], theirs) < 1e-5
    assert first > 0
    assert len(graphs) == first
    assert unet._compiled_call_impl is None
    torch._dynamo.reset()
