from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest
import torch

from scripts.benchmarks._tracking import build_fake, tracked_peak
from temporal.chunked import Chunks, chunked
from temporal.chunked.decoder import DecoderCuts
from temporal.constant_attention import constant_cross_attention
from temporal.errors import TemporalError
from temporal.estimate import decode_peak, encode_peak, unet_peak
from temporal.ladder import widest_unit
from temporal.memory import apply_plan, plan_memory, smaller
from temporal.memory_plan import GIB, MemoryPlan, MemoryRequest
from temporal.offload import streamed_units
from temporal.vae import DecodeOptions, decode_frames
from tests.temporal.networks import unet_inputs, worst

SVD_UNET = {
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": (*("CrossAttnDownBlockSpatioTemporal",) * 3, "DownBlockSpatioTemporal"),
    "up_block_types": ("UpBlockSpatioTemporal", *("CrossAttnUpBlockSpatioTemporal",) * 3),
}
SVD_VAE = {"block_out_channels": (128, 256, 512, 512)}


NARROW = {"block_out_channels": (32, 64, 64, 64), "num_attention_heads": (2, 4, 4, 4)}
WIDE = {  # a residual block is the widest
    "block_out_channels": (64, 640, 1280, 320),
    "num_attention_heads": (2, 4, 4, 4),
    "down_block_types": (*("DownBlockSpatioTemporal",) * 3, "CrossAttnDownBlockSpatioTemporal"),
    "up_block_types": ("CrossAttnUpBlockSpatioTemporal", *("UpBlockSpatioTemporal",) * 3),
}


def request(budget: float, **changes: Any) -> MemoryRequest:
    return MemoryRequest(
        **{
            "unet_config": SVD_UNET,
            "vae_config": SVD_VAE,
            "unet_weights": 1_524_623_082,
            "vae_weights": 97_742_847,
            "size": (1024, 576),
            "window": 24,
            "budget": int(budget * GIB),
            **changes,
        }
    )


def test_more_memory_is_never_a_smaller_plan() -> None:
    plans = [plan_memory(request(budget)) for budget in (2.5, 3, 4, 5, 6, 8, 12, 24, 80)]
    rungs = [plan.rung for plan in plans]
    assert rungs == sorted(rungs, reverse=True)
    assert all(plan.peak <= plan.budget for plan in plans)
    assert plans[-1].chunks is None
    assert plans[-1].halves_together
    assert plans[0].offload == "stream"
    assert len(set(rungs)) >= 5


def test_figures_asked_for_are_planned() -> None:
    resident = plan_memory(request(4.9, offload="none", decode_group=1))
    assert resident.precision == "float16"
    assert resident.peaks["denoise"] < 4.6 * GIB
    streamed = plan_memory(request(2.6, offload="stream", precision="float16"))
    assert streamed.peaks["denoise"] < 2.5 * GIB


def test_encoding_counts_one_network_at_a_time_where_they_are_offloaded() -> None:
    encoder = 632_076_800
    picture = 4 * 97_742_847 + encode_peak(SVD_VAE, size=(128, 72))
    peaks = {
        way: plan_memory(request(24, offload=way, encoder_weights=encoder)).peaks["encode"]
        for way in ("none", "model", "stream")
    }
    assert peaks["model"] == peaks["stream"] == max(2 * encoder, picture)
    assert peaks["none"] == picture + 2 * (1_524_623_082 + encoder)


def test_what_was_asked_for_is_kept() -> None:
    plan = plan_memory(request(20, precision="float32", offload="model", decode_group=5))
    assert (plan.precision, plan.offload, plan.decode.group) == ("float32", "model", 5)
    assert plan_memory(request(200, windows=3, window=8)).window_batch == 2
    assert not plan_memory(request(200, guided=False)).request.guided


def test_no_plan_names_the_nearest_budget_that_works() -> None:
    with pytest.raises(TemporalError, match=r"within 0\.50 GiB.*nearest budget") as error:
        plan_memory(request(0.5))
    nearest = float(str(error.value).split("works is ")[1].split(" GiB")[0])
    assert plan_memory(request(nearest)).peak <= nearest * GIB
    with pytest.raises(TemporalError, match="nearest budget"):
        plan_memory(request(nearest - 0.05))


def test_smaller_goes_down_to_an_error() -> None:
    plans = [plan_memory(request(80))]
    with contextlib.suppress(TemporalError):
        while len(plans) < 100:
            plans.append(smaller(plans[-1]))
    assert 4 < len(plans) < 100
    peaks = [plan.peaks["denoise"] for plan in plans]
    assert peaks == sorted(peaks, reverse=True)
    with pytest.raises(TemporalError, match="smallest plan already"):
        smaller(plans[-1])


@pytest.mark.parametrize("name", ["window", "decode_group", "windows"])
def test_impossible_requests(name: str) -> None:
    with pytest.raises(TemporalError, match=f"{name} is 0.*works is 1"):
        request(8, **{name: 0})


def test_no_memory_at_all_is_a_budget_that_is_too_small() -> None:
    with pytest.raises(TemporalError, match=r"within 0\.00 GiB.*nearest budget"):
        plan_memory(request(0))
    with pytest.raises(TemporalError, match="not an amount"):
        request(-1)


def test_decoding_gets_smaller_too() -> None:
    plan = plan_memory(request(24))
    first = smaller(plan, "decode")  # the other networks go first, which changes no number
    assert (plan.offload, first.offload) == ("none", "model")
    assert first.decode == plan.decode
    less = smaller(first, "decode")
    assert less.peaks["decode"] < first.peaks["decode"] < plan.peaks["decode"]
    assert (less.chunks, less.peaks["denoise"]) == (plan.chunks, plan.peaks["denoise"])
    assert less.decode.group == plan.decode.group
    while less.decode.group > 1:
        less = smaller(less, "decode")
    with pytest.raises(TemporalError, match="to decode"):
        smaller(less, "decode")


def test_encoding_has_smaller_plans_until_networks_are_elsewhere() -> None:
    less = smaller(plan_memory(request(24)), "encode")
    assert (less.offload, less.precision) == ("model", "float16")
    with pytest.raises(TemporalError, match=r"smallest plan already .* to encode"):
        smaller(less, "encode")


def test_plan_in_words() -> None:
    text = "\n".join(plan_memory(request(5)).lines())
    for word in ("in turn", "frames", "float16", "peak, denoise", "GiB", "budget"):
        assert word in text


@torch.no_grad()
def test_apply_plan_gives_the_stock_result(unet: Any) -> None:
    inputs = unet_inputs()
    theirs = unet(**inputs)[0]
    small = request(
        0.2,
        unet_config=unet.config,
        size=(80, 48),
        window=5,
        offload="stream",
        precision="float32",
        unet_weights=1_300_000,
        vae_weights=1_000_000,
    )
    plan = plan_memory(small)
    plan = smaller(plan)
    assert plan.chunks is not None
    with apply_plan(unet, plan, "cpu"):
        ours = unet(**inputs)[0]
    assert worst(ours, theirs) < 1e-5
    assert not any("forward" in vars(module) for module in unet.modules())


@torch.no_grad()
def test_a_plan_for_guidance_runs_a_step_without_and_a_shorter_window(unet: Any) -> None:
    plan = plan_memory(
        request(
            1,
            unet_config=unet.config,
            vae_config={"block_out_channels": (32, 64)},
            size=(20, 12),
            window=5,
            precision="float32",
            unet_weights=1_300_000,
            vae_weights=1_000_000,
        )
    )
    chunks = Chunks(frames=10, pixels=60, tokens=600)  # all of both halves
    plan = replace(plan, chunks=chunks)
    for inputs in (unet_inputs(batch=1), unet_inputs(batch=1, frames=3)):
        theirs = unet(**inputs)[0]
        with apply_plan(unet, plan, "cpu"):
            assert worst(unet(**inputs)[0], theirs) < 1e-5
        with (
            pytest.raises(TemporalError, match="a chunk of 10 frames is beyond"),
            chunked(unet, chunks),
        ):
            unet(**inputs)


@pytest.mark.parametrize("changes", [SVD_UNET, {"transformer_layers_per_block": 2}, NARROW, WIDE])
def test_the_widest_unit_is_that_of_the_real_network(changes: dict[str, Any]) -> None:
    from diffusers import UNetSpatioTemporalConditionModel

    with torch.device("meta"):
        network = UNetSpatioTemporalConditionModel(**{**SVD_UNET, **changes})
    units = [sum(w.numel() for w in unit.parameters()) for unit in streamed_units(network)]
    assert widest_unit(network.config) == max(units)


def attention_batch(plan: MemoryPlan) -> int:
    """Sequences in one call of attention over time."""
    width, height = plan.request.latent_size
    halves = 2 if plan.request.guided and plan.halves_together else 1
    pixels = width * height
    if plan.chunks is not None and plan.chunks.pixels is not None:
        pixels = min(pixels, plan.chunks.pixels)
    return plan.window_batch * halves * pixels


@pytest.mark.parametrize("size", [(1024, 576), (2048, 1152), (2560, 2048)])
@pytest.mark.parametrize("guided", [True, False])
def test_attention_over_time_stays_within_cudas_grid(size: tuple[int, int], guided: bool) -> None:
    plans = [plan_memory(request(10_000, size=size, windows=8, guided=guided))]
    with contextlib.suppress(TemporalError):
        while True:
            plans.append(smaller(plans[-1]))
    assert max(attention_batch(plan) for plan in plans) <= 65_535
    if size == (1024, 576):  # 9,216 pixels: no smaller than it must be
        assert plans[0].window_batch == (2 if guided else 4)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    "chunks", [None, Chunks(tokens=6000), Chunks(frames=2, pixels=1000, tokens=4000)]
)
def test_prediction_against_the_tracker(unet: Any, batch: int, chunks: Chunks | None) -> None:
    """A network of a few widths at a size where activations outweigh weights."""
    from diffusers import UNetSpatioTemporalConditionModel

    config, call = dict(unet.config), {"size": (48, 40), "frames": 8}
    mode, fake = build_fake(
        lambda: UNetSpatioTemporalConditionModel.from_config(config), torch.float32
    )
    inputs = unet_inputs(batch=batch, **call)
    with mode, constant_cross_attention(fake), contextlib.ExitStack() as stack:
        if chunks is not None:
            stack.enter_context(chunked(fake, chunks))
        inside = {
            name: torch.empty(value.shape) if torch.is_tensor(value) else value
            for name, value in inputs.items()
        }
        tracked = tracked_peak([fake], lambda: fake(**inside))
    weights = sum(w.numel() * w.itemsize for w in fake.parameters())
    predicted = unet_peak(config, batch=batch, chunks=chunks, element=4, **call)
    assert predicted == pytest.approx(tracked - weights, rel=0.05)


def test_decoding_against_the_tracker(vae: Any) -> None:
    from diffusers import AutoencoderKLTemporalDecoder

    config = dict(vae.config)
    mode, fake = build_fake(lambda: AutoencoderKLTemporalDecoder.from_config(config), torch.float32)
    options = DecodeOptions(group=4, cuts=DecoderCuts(frames=1, pixels=1024, queries=128))
    with mode:
        latents = torch.empty(4, 4, 24, 32)
        tracked = tracked_peak([fake], lambda: list(decode_frames(fake, latents, options)))
    weights = sum(w.numel() * w.itemsize for w in fake.parameters())
    predicted = decode_peak(config, size=(32, 24), frames=4, options=options, element=4)
    assert predicted == pytest.approx(tracked - weights, rel=0.15)


def test_encoding_against_the_tracker_at_full_size() -> None:
    from diffusers import AutoencoderKLTemporalDecoder

    config = {**SVD_VAE, "down_block_types": ("DownEncoderBlock2D",) * 4, "layers_per_block": 2}
    mode, fake = build_fake(lambda: AutoencoderKLTemporalDecoder.from_config(config), torch.float32)
    with mode:
        picture = torch.empty(1, 3, 576, 1024)
        tracked = tracked_peak([fake], lambda: fake.encode(picture))
    weights = sum(w.numel() * w.itemsize for w in fake.parameters())
    predicted = encode_peak(config, size=(128, 72))
    assert predicted == pytest.approx(tracked - weights, rel=0.05)
