"""A clip through the whole product, with the time and memory of each stage."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from animate.animator import Animator
from animate.clip.clock import peak_host_bytes
from animate.device import peak_device_bytes, precision_of
from animate.progress import Lines, Stage
from animate.request.request import AnimationRequest
from scripts.rehearsal.weights import build_model
from scripts.tiny import make_demo

_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class StageFigures:
    """Time and memory of one stage of one clip."""

    model: str
    stage: str
    precision: str
    seconds: float
    """By the clock."""
    processor_seconds: float
    """Processor time of all threads of this process."""
    host_bytes: int
    """Most resident memory within the stage; mapped weight files count where they were read."""
    device_bytes: int | None
    """Most that torch allocated on the device within the stage; None on a CPU."""


class Meter(Lines):
    """Progress that measures each stage."""

    def __init__(self, model: str, device: torch.device) -> None:
        super().__init__()
        self.model, self.device = model, device
        self.precision = ""
        self.rows: list[StageFigures] = []

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Stage]:
        with self.measured(name), super().stage(name, total) as counter:
            yield counter

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """Measure the block as a stage."""
        _forget_peaks(self.device)
        began, before = time.perf_counter(), time.process_time()
        yield
        self.rows.append(
            StageFigures(
                model=self.model,
                stage=name,
                precision=self.precision,
                seconds=round(time.perf_counter() - began, 2),
                processor_seconds=round(time.process_time() - before, 2),
                host_bytes=_peak_host_bytes(),
                device_bytes=peak_device_bytes(self.device),
            )
        )


def _forget_peaks(device: torch.device) -> None:
    """Begin to count anew, where the system can; elsewhere a stage has the peak of those before."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_host_bytes() -> int:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return peak_host_bytes()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def rehearse(
    folder: Path,
    models: Sequence[str],
    *,
    size: str,
    frames: int,
    steps: int,
    device: str = "auto",
    precision: str = "auto",
) -> list[StageFigures]:
    """Figures of a clip of each model. Raises what a run of `cnx run` raises."""
    rows: list[StageFigures] = []
    shared: Path | None = None
    make_demo.main(folder / "media")
    for name in models:
        shared = model = build_model(folder, name, shared=shared)
        request = AnimationRequest.from_dict(
            {
                "reference": folder / "media" / "reference.png",
                "driving": folder / "media" / "driving.mp4",
                "output": folder / f"{name}.mp4",
                "overwrite": True,
                "model": model,
                "size": size,
                "max_frames": frames,
                "steps": steps,
                "device": device,
                "precision": precision,
                "work": "none",
            }
        )
        rows += _clip(name, request)
    return rows


def _clip(name: str, request: AnimationRequest) -> list[StageFigures]:
    from animate.device import choose_device

    meter = Meter(name, choose_device(request.runtime.device))
    with meter.measured("load"):
        animator = Animator.for_request(request, meter)
        meter.precision = precision_of(animator.engine.components.unet)
    result = animator(request, meter)
    meter.note(f"{name}: {result.frames} frames in {result.output}")
    animator.close()
    return meter.rows


def lines(rows: Sequence[StageFigures]) -> list[str]:
    """A Markdown table of the figures, and the machine's load."""
    made = [
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"load {' '.join(f'{load:.1f}' for load in os.getloadavg())}",
        "",
        "| model | stage | precision | clock | processor | host | device |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        device = "" if row.device_bytes is None else f"{row.device_bytes / _GIB:.2f} GiB"
        made.append(
            f"| {row.model} | {row.stage} | {row.precision} | {row.seconds:.1f} s | "
            f"{row.processor_seconds:.1f} s | {row.host_bytes / _GIB:.2f} GiB | {device} |"
        )
    return made
