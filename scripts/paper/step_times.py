"""Time of one denoising step at full size: the base, with ControlNet, with ControlNeXt.

Random weights, one conditional call of the UNet, no guidance; the three are run in turn in one
process, and medians of wall time and of processor time are taken.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from animate.errors import UserError
from animate.files import write_text
from animate.request.schema import plain, read_value
from scripts.benchmarks._networks import filled
from scripts.benchmarks.rows import both_clocks
from scripts.paper.figures import StepSize, TimedStep, Times
from scripts.paper.published_networks import BASES, make_base, make_controlnet, make_controlnext
from scripts.paper.steps import QUICK, frames_of, percent, step_of

PUBLISHED = {"ControlNet": 41.9, "ControlNeXt": 10.4}
"""The paper's mean growth of the time of a step, per cent."""
SIZES = {
    "SD1.5": StepSize(width=512, height=512),
    "SDXL": StepSize(width=512, height=512),
    "SVD": StepSize(width=320, height=192, frames=4),
}
"""Subject that is timed."""
ROUNDS = {"SD1.5": 9, "SDXL": 9, "SVD": 3}
"""Number of rounds; a step of seconds is easier disturbed than one of half a minute."""
SPARE = 1.4
"""Memory that must be available, in sizes of the weights."""


def measure(
    folder: Path, bases: Sequence[str] = BASES, *,
    dtype: torch.dtype = torch.bfloat16, toy: bool = False, say: Callable[[str], None] = print,
) -> Times:  # fmt: skip
    """Seconds of every base and method. What was timed in `folder` under the same
    conditions is not timed again. Raises `UserError` where memory is too short."""
    torch.set_num_threads(1)
    rows: list[TimedStep] = []
    for base in bases:
        size = QUICK if toy else SIZES[base]
        rounds = 3 if toy else ROUNDS[base]
        name = f"times-{base}-{size.width}x{size.height}x{size.frames}-{rounds}"
        file = folder / f"{name}{'-toy' if toy else ''}.json"
        if not file.exists():
            timed = _measure(base, size, rounds, dtype, toy)
            folder.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(plain(timed)))
        timed = read_value(tuple[TimedStep, ...], json.loads(file.read_bytes()), file.name)
        for row in timed:
            say(f"{base}, {row.method}: {row.cpu:.2f} s, {row.cpu_percent:+.1f} %")
        rows += timed
        gc.collect()
    means = {
        clock: {
            method: round(
                sum(row.percent(clock) for row in rows if row.method == method) / len(bases), 1
            )
            for method in PUBLISHED
        }
        for clock in ("cpu", "wall")
    }
    return Times(
        rows=tuple(rows),
        mean_percent=means,
        published_percent=PUBLISHED,
        precision=str(dtype).removeprefix("torch."),
    )


def check_memory(base: str, networks: Sequence[Any], dtype: torch.dtype) -> None:
    """Raise `UserError` when the weights of these (meta) networks would fill the memory."""
    import psutil

    needed = SPARE * sum(p.numel() for n in networks for p in n.parameters()) * dtype.itemsize
    available = psutil.virtual_memory().available
    if available < needed:
        raise UserError(
            f"timing {base} needs {needed / 2**30:.1f} GiB of memory and "
            f"{available / 2**30:.1f} GiB are available; close other programs and measure again"
        )


@torch.no_grad()
def _measure(
    base: str, size: StepSize, rounds: int, dtype: torch.dtype, toy: bool
) -> list[TimedStep]:
    with torch.device("meta"):
        outline = make_base(base, toy)
        check_memory(base, [outline, make_controlnet(base, outline)], dtype)
    unet = filled(lambda: make_base(base, toy), dtype)
    copy = filled(lambda: make_controlnet(base, outline), dtype)
    channels = outline.config.block_out_channels[0]
    control = filled(lambda: make_controlnext("later", channels), dtype)
    step = step_of(base, size, dtype)
    frames = torch.rand(1, frames_of(base, size), 3, size.height, size.width).to(dtype)
    with ExitStack() as stack:
        calls = step(unet, copy, control, frames, stack)
        seconds = both_clocks(calls, repeats=rounds)
    return [
        TimedStep(
            base=base, width=size.width, height=size.height, frames=size.frames,
            method=method, rounds=rounds, cpu=round(times.cpu, 3), wall=round(times.wall, 3),
            cpu_percent=percent(times.cpu, seconds["base"].cpu),
            wall_percent=percent(times.wall, seconds["base"].wall),
        )
        for method, times in seconds.items()
    ]  # fmt: skip
