from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from torch import nn

from temporal.chunked import Chunks, chunked
from temporal.chunked.norms import GroupStatistics, normalise
from temporal.constant_attention import constant_cross_attention
from temporal.errors import TemporalError
from tests.temporal.networks import unet_inputs, worst

PIXELS = 60  # of the latents of `unet_inputs`
EVERY_SIZE = [
    *[Chunks(frames=n) for n in range(1, 11)],
    *[Chunks(pixels=n) for n in (1, 2, 7, 15, 31, 59, 60)],
    *[Chunks(tokens=n) for n in (11, 64, 599, 600)],
    *[Chunks(queries=n) for n in (1, 7, 15, 59, 60)],
    Chunks(frames=1, pixels=1, tokens=5, queries=1),
    Chunks(frames=3, pixels=13, tokens=100, queries=11),
]


def name_of(chunks: Chunks) -> str:
    return "-".join(f"{k}{v}" for k, v in vars(chunks).items() if v is not None)


@pytest.mark.parametrize("constant", [False, True], ids=["stock", "constant"])
@torch.no_grad()
def test_every_size_gives_the_stock_result(unet: Any, constant: bool) -> None:
    inputs = unet_inputs(batch=2, frames=5, size=(10, 6))
    theirs = unet(**inputs)[0]
    context = constant_cross_attention(unet) if constant else contextlib.nullcontext()
    with context:
        for chunks in EVERY_SIZE:
            with chunked(unet, chunks):
                assert worst(unet(**inputs)[0], theirs) < 1e-5, chunks


@pytest.mark.parametrize("size", [(5, 7), (9, 3), (4, 4)])
@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (1, 3), (3, 2)])
@torch.no_grad()
def test_odd_sizes(unet: Any, size: tuple[int, int], batch: int, frames: int) -> None:
    inputs = unet_inputs(batch, frames, size)
    theirs = unet(**inputs)[0]
    wanted = Chunks(frames=2, pixels=8, tokens=20, queries=6)
    fitted = wanted.fitted(frames=batch * frames, pixels=size[0] * size[1])
    with chunked(unet, fitted):
        assert worst(unet(**inputs)[0], theirs) < 1e-5


@torch.no_grad()
def test_channels_last_input_is_kept(unet: Any) -> None:
    inputs = unet_inputs()
    theirs = unet(**inputs)[0]
    unet.to(memory_format=torch.preserve_format)
    for module in unet.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    layouts: list[bool] = []
    hook = (
        unet.up_blocks[1]
        .resnets[0]
        .register_forward_hook(
            lambda _, __, out: layouts.append(out.is_contiguous(memory_format=torch.channels_last))
        )
    )
    try:
        with chunked(unet, Chunks(frames=3, pixels=13)):
            assert worst(unet(**inputs)[0], theirs) < 1e-5
    finally:
        hook.remove()
        for module in unet.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.contiguous_format)
    assert layouts == [True]


@torch.no_grad()
def test_pieces_are_really_small(unet: Any) -> None:
    seen: dict[str, int] = {}

    def note(name: str) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
            seen[name] = max(seen.get(name, 0), args[0].numel() // args[0].shape[-1])

        return hook

    block = unet.up_blocks[1].attentions[0]
    hooks = [
        block.transformer_blocks[0].register_forward_pre_hook(note("spatial")),
        block.temporal_transformer_blocks[0].register_forward_pre_hook(note("temporal")),
        block.temporal_transformer_blocks[0].ff.net[0].register_forward_pre_hook(note("tokens")),
        block.transformer_blocks[0].attn1.to_q.register_forward_pre_hook(note("queries")),
    ]
    with chunked(unet, Chunks(frames=1, pixels=8, tokens=30, queries=9)):
        unet(**unet_inputs())
    for hook in hooks:
        hook.remove()
    assert seen == {"spatial": PIXELS, "temporal": 8 * 10, "tokens": 30, "queries": 9}


@torch.no_grad()
def test_network_is_restored_also_after_an_error(unet: Any) -> None:
    inputs = unet_inputs()
    before = unet(**inputs)[0]
    processors = dict(unet.attn_processors)
    with (
        pytest.raises(RuntimeError, match="stop"),
        chunked(unet, Chunks(frames=1, pixels=8, tokens=30, queries=9)),
    ):
        raise RuntimeError("stop")
    assert unet.attn_processors == processors
    assert not any("forward" in vars(module) for module in unet.modules())
    assert not unet._forward_pre_hooks
    assert torch.equal(unet(**inputs)[0], before)


@pytest.mark.parametrize("name", ["frames", "pixels", "tokens", "queries"])
@pytest.mark.parametrize("size", [0, -3])
def test_empty_chunks_are_refused(name: str, size: int) -> None:
    with pytest.raises(TemporalError, match=rf"{size} {name}.*nearest size that works is 1"):
        Chunks(**{name: size})


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        (Chunks(frames=11), "11 frames is beyond the 10 .* works is 10"),
        (Chunks(pixels=61), "61 pixels is beyond the 60 .* works is 60"),
        (Chunks(tokens=601), "601 tokens is beyond the 600 .* works is 600"),
        (Chunks(queries=61), "61 queries is beyond the 60 .* works is 60"),
    ],
)
@torch.no_grad()
def test_chunks_beyond_the_tensor_are_refused(unet: Any, chunks: Chunks, message: str) -> None:
    with pytest.raises(TemporalError, match=message), chunked(unet, chunks):
        unet(**unet_inputs())
    assert chunks.fitted(frames=10, pixels=60) != chunks


def test_statistics_of_pieces_far_from_zero() -> None:
    """Sums of squares would lose everything here; merged deviations do not."""
    clip = torch.randn(2, 8, 3, 101, generator=torch.Generator().manual_seed(0)) + 3000
    norm = nn.GroupNorm(4, 8).requires_grad_(False)
    norm.weight.uniform_(0.5, 2)
    norm.bias.uniform_(-1, 1)
    statistics = GroupStatistics(norm)
    for piece in clip.split([1, 60, 40], dim=-1):
        statistics.add(piece)
    ours = normalise(clip, norm, *statistics.by_channel())
    assert worst(ours.double(), norm.double()(clip.double())) < 1e-3
    exact = clip.double().unflatten(1, (4, 2)).var((2, 3, 4), correction=0)
    assert worst(statistics.by_channel()[1][:, ::2].double(), exact) < 1e-4
