"""A card in one table: time of a step and of decoding, and peaks against the plan.

    python -m scripts.rehearsal.card
    python -m scripts.rehearsal.card --device cuda:1 --compile

The networks of svd-v2 at full size with random weights, one window of 24 frames of 576x1024 with
guidance, by the plan that fits the card: in each precision that it computes in. The lines are made
for docs/gpu.md. `make test-gpu` runs this after the tests; `--compile` takes minutes more.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from animate.device import automatic_precision, choose_device, has_bfloat16, peak_device_bytes
from animate.errors import user_mistakes
from animate.generate.conditioning import Conditioning
from animate.generate.denoise import denoise
from animate.generate.engine import Engine
from animate.generate.memory import WORKSPACE, plan_clip_memory
from animate.generate.network import networks_for
from animate.generate.pipeline import draw_noise, plan_work
from animate.generate.schedules import make_scheduler
from animate.generate.settings import ClipSettings, settle
from animate.models.components import Components, build_control_network, build_network
from animate.models.store import read_json
from animate.models.variants import COMPONENTS, load_variant, shipped_config
from animate.request.request import AnimationRequest, RuntimeOptions
from animate.request.values import Size
from scripts.benchmarks._networks import filled
from temporal.memory_plan import MemoryPlan
from temporal.offload import offloaded
from temporal.vae import decode_frames

_GIB = 2**30
STEPS = 3
"""Steps of which the first, which loads kernels, is not counted."""


@dataclass(frozen=True, kw_only=True)
class CardRow:
    """Figures of one precision on one card."""

    precision: str
    offload: str
    compiled: bool
    step_seconds: float
    """Time of a guided step of one window, its copy to the host included."""
    decode_seconds: float
    """Time of one frame."""
    planned_bytes: int
    """Memory of the wider of both stages, by the plan, without CUDA's context."""
    peak_bytes: int | None
    """Most that torch allocated in both; None on a CPU."""


class Skeletons:
    """Control frames that show nothing."""

    def __init__(self, frames: int, size: Size) -> None:
        self._frames, self._size = frames, size

    def __len__(self) -> int:
        return self._frames

    def __call__(self, frames: Sequence[int]) -> Tensor:
        size = self._size
        return torch.zeros(len(frames), 3, size.height, size.width, dtype=torch.uint8)


def random_components(name: str, dtype: torch.dtype) -> Components:
    """A published variant's networks with random weights, on the host."""
    variant = load_variant(name)
    networks: dict[str, Any] = {
        part: filled(lambda part=part: build_network(part, read_json(shipped_config(part))), dtype)
        for part in COMPONENTS
        if part != "controlnext"
    }
    control = filled(lambda: build_control_network(variant.control_network), dtype)
    return Components(
        variant=variant, scheduler=None, digests={}, reports=(), controlnext=control, **networks
    )


def measure(
    parts: Components, settings: ClipSettings, device: torch.device, *, compiled: bool = False
) -> CardRow:
    """One window through the loop and the decoder, by the plan that fits the device."""
    frames = settings.window
    plan = _plan(parts, settings, device)
    engine = Engine(
        components=parts, device=device, plan=plan, compiler="inductor" if compiled else None
    )
    engine.clear_device()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    step_seconds = _step_seconds(engine, settings, frames)
    decode_seconds = _decode_seconds(engine, settings)
    stages = [] if plan is None else [plan.peaks["denoise"], plan.peaks["decode"]]
    return CardRow(
        precision=str(next(parts.vae.parameters()).dtype).removeprefix("torch."),
        offload=engine.offload if plan is None else plan.offload,
        compiled=compiled,
        step_seconds=step_seconds,
        decode_seconds=decode_seconds,
        planned_bytes=max(stages, default=0) - WORKSPACE if stages else 0,
        peak_bytes=peak_device_bytes(device),
    )


def _plan(parts: Components, settings: ClipSettings, device: torch.device) -> MemoryPlan | None:
    """The plan that fits a card; None on a CPU."""
    if device.type != "cuda":
        return None
    return plan_clip_memory(
        parts.variant,
        settings,
        RuntimeOptions(),
        frames=settings.window,
        device=device,
        components=parts,
    )


@torch.no_grad()
def _step_seconds(engine: Engine, settings: ClipSettings, frames: int) -> float:
    parts = engine.components
    scheduler = make_scheduler(parts.variant.scheduler, settings.steps, device=engine.device)
    noise = draw_noise(engine, settings, frames)
    conditioning = Conditioning(
        embedding=torch.randn(1, 1, parts.unet.config.cross_attention_dim, device=engine.device),
        latents=noise[:1].to(engine.device),
        micro=torch.tensor([list(parts.variant.micro_conditions)], device=engine.device),
    )
    control: Any = Skeletons(frames, settings.size)
    work = plan_work(engine, settings, conditioning, control, scheduler)
    ends: list[float] = []
    with networks_for(parts, work, engine.device) as networks:
        denoise(
            noise,
            scheduler,
            work.steps,
            networks,
            device=engine.device,
            on_step=lambda *_: ends.append(time.perf_counter()),
        )
    return statistics.median(np.diff(ends)) if len(ends) > 1 else float("nan")


@torch.no_grad()
def _decode_seconds(engine: Engine, settings: ClipSettings) -> float:
    vae = engine.components.vae
    group = settings.decode_chunk if engine.plan is None else engine.plan.decode.group
    latents = draw_noise(engine, settings, 2 * group)
    options = None if engine.plan is None else engine.plan.decode
    ends = [time.perf_counter()]
    with offloaded(vae, engine.device, engine.offload):
        for frames in decode_frames(vae, latents, options):
            frames.float().sum().item()  # waits for the device
            ends.append(time.perf_counter())
    return (ends[-1] - ends[-2]) / group if len(ends) > 1 else float("nan")


def precisions(device: torch.device) -> list[torch.dtype]:
    """Those that a device computes in, the automatic one first."""
    first = getattr(torch, automatic_precision(device, torch.float32))
    others = [torch.float16, torch.float32]
    if device.type == "cuda" and has_bfloat16(device):
        others.insert(0, torch.bfloat16)
    return [first, *(dtype for dtype in others if dtype != first)]


def describe(device: torch.device) -> str:
    """Card, memory, driver and versions, in one line."""
    if device.type != "cuda":
        return f"{device}, torch {torch.__version__}"
    whole = torch.cuda.get_device_properties(device).total_memory / _GIB
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30)
        version = driver.stdout.split("\n")[0].strip()
    except (OSError, subprocess.SubprocessError):
        version = "unknown"
    return (
        f"{torch.cuda.get_device_name(device)}, {whole:.1f} GiB, driver {version}, "
        f"torch {torch.__version__}"
    )


def lines(card: str, rows: Sequence[CardRow]) -> list[str]:
    """A Markdown table for docs/gpu.md."""
    made = [
        f"### {card}",
        "",
        "| precision | offload | compiled | a step | decoding a frame | peak | planned |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        peak = "" if row.peak_bytes is None else f"{row.peak_bytes / _GIB:.2f} GiB"
        planned = f"{row.planned_bytes / _GIB:.2f} GiB" if row.planned_bytes else ""
        made.append(
            f"| {row.precision} | {row.offload} | {'yes' if row.compiled else 'no'} | "
            f"{row.step_seconds:.2f} s | {row.decode_seconds:.2f} s | {peak} | {planned} |"
        )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", metavar="DEVICE")
    parser.add_argument("--size", default="576x1024", metavar="WxH")
    parser.add_argument("--window", type=int, default=24, metavar="N")
    parser.add_argument("--compile", action="store_true", help="also compiled, in the first type")
    arguments = parser.parse_args(argv)
    try:
        device = choose_device(arguments.device)
        rows = list(_rows(device, arguments))
    except user_mistakes() as mistake:
        parser.error(str(mistake))
    print("\n".join(lines(describe(device), rows)))
    return 0


def _rows(device: torch.device, arguments: argparse.Namespace) -> list[CardRow]:
    rows: list[CardRow] = []
    for dtype in precisions(device):
        parts = random_components("svd-v2", dtype)
        clip = {"reference": "-", "driving": "-", "output": "-", "size": arguments.size}
        options = {"window": arguments.window, "steps": STEPS, "overlap": 0}
        request = AnimationRequest.from_dict({**clip, **options})
        settings = settle(request, parts.variant, Size(*parts.variant.sizes[0]))
        ways = (False, True) if arguments.compile and not rows else (False,)
        for compiled in ways:
            rows.append(measure(parts, settings, device, compiled=compiled))
            print(rows[-1], file=sys.stderr)
        del parts
    return rows


if __name__ == "__main__":
    sys.exit(main())
