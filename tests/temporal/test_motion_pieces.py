"""A UNet with motion modules in pieces: the stock numbers, and the peak predicted for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
from diffusers import UNetMotionModel

from animate.models.reference_attention import ReferenceBank, reference_read
from scripts.benchmarks._tracking import build_fake, tracked_peak
from temporal.chunked import Chunks, chunked
from temporal.errors import TemporalError
from temporal.estimate import unet_peak
from temporal.ladder import widest_unit
from temporal.memory import plan_memory
from temporal.memory_plan import GIB, MemoryRequest
from temporal.offload import offloaded, streamed_units

FRAMES, WIDTH, HEIGHT = 6, 12, 8
SMALL: dict[str, Any] = {
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlockMotion", "DownBlockMotion"),
    "up_block_types": ("UpBlockMotion", "CrossAttnUpBlockMotion"),
    "cross_attention_dim": 16,
    "norm_num_groups": 8,
    "num_attention_heads": 2,
    "motion_num_attention_heads": 2,
    "use_motion_mid_block": True,
}
FULL: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": (*("CrossAttnDownBlockMotion",) * 3, "DownBlockMotion"),
    "up_block_types": ("UpBlockMotion", *("CrossAttnUpBlockMotion",) * 3),
    "cross_attention_dim": 768,
    "use_motion_mid_block": True,
}
PIECES = (
    Chunks(tokens=40),
    Chunks(frames=2),
    Chunks(pixels=20),
    Chunks(frames=1, pixels=7, tokens=16),
)


def small_unet() -> Any:
    torch.manual_seed(0)
    return UNetMotionModel(**SMALL).eval()


def inputs(batch: int, *, width: int = WIDTH, height: int = HEIGHT) -> dict[str, Any]:
    return {
        "sample": torch.randn(batch, 4, FRAMES, height, width),
        "timestep": torch.tensor(5),
        "encoder_hidden_states": torch.randn(batch * FRAMES, 1, 16),
        "return_dict": False,
    }


@contextmanager
def with_reference(unet: Any, rows: tuple[bool, ...], width: int, height: int) -> Iterator[int]:
    """Have the clips of a batch attend to a reference; yields the numbers of its features."""
    features = {}
    for name in unet.attn_processors:
        if name.endswith("attn1.processor") and "motion_modules" not in name:
            channels = unet.get_submodule(name.removesuffix(".processor")).to_q.in_features
            level = SMALL["block_out_channels"].index(channels)
            pixels = (width >> level) * (height >> level)
            features[name] = torch.ones(1, pixels, channels)
    bank = ReferenceBank(features)
    with reference_read(unet, bank), bank.shown(rows):
        yield sum(value.numel() for value in features.values())


@pytest.mark.parametrize("chunks", PIECES)
@torch.no_grad()
def test_pieces_give_the_stock_numbers(chunks: Chunks) -> None:
    unet = small_unet()
    for batch in (1, 2):
        given = inputs(batch)
        stock = unet(**given)[0]
        with chunked(unet, chunks):
            torch.testing.assert_close(unet(**given)[0], stock, atol=2e-5, rtol=2e-5)
    assert not any("forward" in vars(module) for module in unet.modules())


@torch.no_grad()
def test_pieces_attend_to_the_reference_too() -> None:
    unet, given = small_unet(), inputs(1)
    with with_reference(unet, (True,), WIDTH, HEIGHT):
        stock = unet(**given)[0]
        with chunked(unet, Chunks(frames=2, pixels=20, tokens=40)):
            torch.testing.assert_close(unet(**given)[0], stock, atol=2e-5, rtol=2e-5)


@torch.no_grad()
def test_a_motion_unet_is_streamed() -> None:
    unet, given = small_unet(), inputs(1)
    stock = unet(**given)[0]
    with offloaded(unet, "cpu", "stream"), chunked(unet, Chunks(frames=2, pixels=20)):
        torch.testing.assert_close(unet(**given)[0], stock, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("config", [SMALL, FULL])
def test_the_widest_unit_is_that_of_the_real_network(config: dict[str, Any]) -> None:
    with torch.device("meta"):
        network = UNetMotionModel(**config)
    units = [sum(w.numel() for w in unit.parameters()) for unit in streamed_units(network)]
    assert widest_unit(network.config) == max(units)


def test_pieces_beyond_the_clip_are_refused() -> None:
    with (
        chunked(unet := small_unet(), Chunks(frames=FRAMES + 1)),
        pytest.raises(TemporalError, match="beyond the 6 there are"),
    ):
        unet(**inputs(1))


@pytest.mark.parametrize(
    ("rows", "chunks"),
    [
        ((False, True), None),
        ((True,), Chunks(frames=2, pixels=128, tokens=768)),
        ((True,), Chunks(frames=2, pixels=128, tokens=300)),
    ],
)
def test_the_predicted_peak_is_the_trackers(rows: tuple[bool, ...], chunks: Chunks | None) -> None:
    """Where activations outweigh weights."""
    width, height = 24, 16
    mode, unet = build_fake(lambda: UNetMotionModel(**SMALL), torch.float32)
    with mode, ExitStack() as stack:
        features = stack.enter_context(with_reference(unet, rows, width, height))
        if chunks is not None:
            stack.enter_context(chunked(unet, chunks))
        given = inputs(len(rows), width=width, height=height)
        tracked = tracked_peak([unet], lambda: unet(**given))
    weights = sum(w.numel() * w.itemsize for w in unet.parameters())
    predicted = unet_peak(
        SMALL, size=(width, height), frames=FRAMES, batch=len(rows), chunks=chunks, element=4,
        motion=True,
    )  # fmt: skip
    assert predicted == pytest.approx(tracked - weights - 4 * features, rel=0.03)


def test_less_memory_is_planned_for_a_motion_unet() -> None:
    values = {
        "unet_config": FULL,
        "vae_config": {"block_out_channels": (128, 256, 512, 512)},
        "unet_weights": 1_312_732_164,
        "vae_weights": 83_653_863,
        "motion": True,
        "size": (512, 784),
        "window": 24,
    }
    plans = [plan_memory(MemoryRequest(**values, budget=int(b * GIB))) for b in (12, 7, 5, 3)]
    assert plans[0].chunks is None
    assert plans[-1].offload == "stream"
    assert plans[-1].chunks is not None
    assert all(plan.peak <= plan.budget for plan in plans)
    # Rows of both halves together differ in their tokens, which only feed-forward layers may cut.
    together = [plan.chunks for plan in plans if plan.halves_together and plan.chunks is not None]
    assert all(chunks.frames is None and chunks.pixels is None for chunks in together)
