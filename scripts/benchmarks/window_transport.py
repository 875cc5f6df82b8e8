"""Cost of sharing windows in a step, besides the UNet: 240 latent frames of 576x1024, 2 workers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from scripts.benchmarks.rows import Row, interleaved
from temporal.fuse import add_window, plan_tables
from temporal.windows import WindowPlan, plan_windows

FRAMES, CHANNELS, HEIGHT, WIDTH = 240, 4, 128, 72
WINDOW, OVERLAP, WORKERS, STEPS = 24, 6, 2, 5
H100_PEAK = 989.4
"""TFLOP/s of an H100 SXM in dense float16, from its data sheet. No network reaches it, so a step
takes longer than this says and the transport's share of it is smaller."""


def transport(workers: int = WORKERS) -> list[float]:
    """Seconds of each step by Ray with a UNet that answers at once, the first one left out."""
    from animate.generate.denoise import Call
    from animate.generate.workers.ray_cluster import connect, disconnect, require_ray
    from animate.generate.workers.ray_windows import RayWindows, References

    plan = window_plan()
    store = 8 * FRAMES * CHANNELS * HEIGHT * WIDTH * 4
    cluster = connect(processors=workers, store=store)
    ray = require_ray()
    executor = RayWindows(workers)
    executor._actors = [  # the real driver, with workers that only send back what they got
        ray.remote(_Echo).options(num_cpus=1).remote() for _ in range(workers)
    ]
    references = References(networks=ray.put(0), clip=ray.put(0))
    sample = torch.randn(FRAMES, CHANNELS, HEIGHT, WIDTH)
    call = Call(step=0, timestep=torch.tensor(0.0), scale=None, windows=plan.at(0))
    seconds = []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        step(sample, plan, lambda rows: executor._step(rows, call.step, references, lambda n: None))
        seconds.append(time.perf_counter() - start)
    executor._actors = []
    if cluster:
        disconnect()
    return seconds[1:]


class _Echo:
    """A worker whose UNet takes no time."""

    def predict(self, references: Any, step: int, index: int, sample: np.ndarray) -> np.ndarray:
        return sample + np.float32(0)


def window_plan() -> WindowPlan:
    return plan_windows(FRAMES, window=WINDOW, overlap=OVERLAP, steps=1)


def step(
    latents: torch.Tensor, plan: WindowPlan, answer: Callable[[np.ndarray], torch.Tensor]
) -> None:
    """One step as the loop does it: windows out of the latents, predictions fused in order."""
    tables = plan_tables(plan, "cpu")[0]
    rows = torch.stack([latents[frames] for frames in tables.frames])
    predictions = answer(rows.numpy())
    fused = torch.zeros_like(latents)
    for position in range(len(rows)):
        share = tables.shares[position]
        add_window(
            fused[None], predictions[position : position + 1], tables.frames[position], share
        )


def unet_seconds() -> tuple[float, float]:
    """Seconds of one guided window at full size on this machine, scaled, and its TFLOPs.

    The full-size UNet is timed at 8 frames of 320x192 and its time scaled by counted FLOPs.
    """
    from scripts.benchmarks._networks import filled, guided_inputs, make_unet

    network = filled(make_unet)
    inputs = guided_inputs(frames=8, size=(320, 192), dtype=torch.float32)
    with torch.no_grad():
        took = interleaved({"unet": lambda: inputs.predict(network)}, repeats=2, warmup=1)["unet"]
    small, full = operations(8, (320, 192)), operations(WINDOW, (WIDTH * 8, HEIGHT * 8))
    return took * full / small, full / 1e12


def operations(frames: int, size: tuple[int, int]) -> int:
    """Floating-point operations of one guided window, counted on tensors without data."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    from scripts.benchmarks._networks import guided_inputs, make_unet

    with FakeTensorMode(), torch.no_grad():
        network = make_unet()
        inputs = guided_inputs(frames=frames, size=size, dtype=torch.float32)
        with FlopCounterMode(display=False) as counted:
            inputs.predict(network)
    return counted.get_total_flops()


def run() -> list[Row]:
    windows = len(window_plan().at(0))
    alone: list[float] = []
    latents = torch.randn(FRAMES, CHANNELS, HEIGHT, WIDTH)
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        step(latents, window_plan(), torch.from_numpy)
        alone.append(time.perf_counter() - start)
    shared = statistics.median(transport())
    window, tera = unet_seconds()
    seconds = windows * window / WORKERS
    card = windows * tera / H100_PEAK / WORKERS
    moved = 2 * windows * WINDOW * CHANNELS * HEIGHT * WIDTH * 4 / 2**20
    return [
        Row(
            name=f"step, {WORKERS} workers",
            value=shared,
            unit="s",
            baseline=statistics.median(alone[1:]),
            note=f"no UNet: {windows} windows, {moved:.0f} MiB sent and gathered; baseline: alone",
        ),
        Row(
            name="share of a step here",
            value=100 * shared / seconds,
            unit="%",
            note=f"{seconds:.0f} s: {tera:.0f} TFLOP a window, timed small on this CPU and scaled",
        ),
        Row(
            name="share of a step on two H100",
            value=100 * shared / card,
            unit="%",
            note=f"at most: {card:.1f} s at the cards' data-sheet peak, which nothing reaches",
        ),
    ]
