"""Peak host memory of whole runs, files in and clip out, at 100, 1,000 and 10,000 frames.

Each length is a process of its own, since the peak of a process never falls. The driving video and
its pose file are drawn, so that sampling and decoding are what takes the time; one length also
estimates the poses. A third series has networks that do nothing in place of the UNet, the control
network and the decoder: everything but their own few windows' memory, in minutes.

    python scripts/benchmark.py host_memory --json FIGURES.json
    python -m scripts.benchmarks.host_memory [--idle] FRAMES...
    python -m scripts.benchmarks.host_memory --plot FIGURES.json PICTURE.png
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from animate.progress import Sink
from scripts.benchmarks.rows import Row

LENGTHS = (100, 1000, 10000)
ESTIMATED = (100, 1000)
"""Lengths at which poses are estimated as well."""
SIZE = (96, 96)
_TAKE = 24
_MIB = 2.0**20


IDLE = "idle networks, "
POSES = "poses estimated, "


@dataclass(frozen=True, kw_only=True)
class RunMemory:
    """Memory of one run, in bytes."""

    frames: int
    peak: int
    """The process's."""
    stages: dict[str, int]
    """The peak after each stage."""
    seconds: float
    kept_bytes: int
    """Largest work folder."""


def run() -> list[Row]:
    rows = series("", LENGTHS)
    rows += series(POSES, ESTIMATED, "--estimate")
    return rows + series(IDLE, LENGTHS, "--idle")


def series(how: str, lengths: Sequence[int], *options: str) -> list[Row]:
    """The rows of one way to run; each is shown as soon as it is there."""
    peaks: dict[int, RunMemory] = {}
    for frames in lengths:
        peaks[frames] = measure(frames, *options)
        print(f"{how}{frames} frames: {peaks[frames]}", file=sys.stderr, flush=True)
    return _rows(peaks, how)


def _rows(peaks: dict[int, RunMemory], how: str) -> list[Row]:
    rows = []
    shortest = min(peaks, default=0)
    for frames, figures in peaks.items():
        stages = ", ".join(f"{name} {peak / _MIB:.0f}" for name, peak in figures.stages.items())
        rows.append(
            Row(
                name=f"{how}{frames} frames: peak",
                value=figures.peak / _MIB,
                unit="MiB",
                baseline=peaks[shortest].peak / _MIB,
                note=f"after {stages}; {figures.seconds:.0f} s, work kept "
                f"{figures.kept_bytes / _MIB:.1f} MiB at most",
            )
        )
        if frames != shortest:
            extra = (figures.peak - peaks[shortest].peak) / (frames - shortest)
            rows.append(
                Row(
                    name=f"{how}each frame beyond {shortest}, to {frames}",
                    value=extra / 1024,
                    unit="KiB",
                    note="latents twice are 54, keypoints 1.6 a copy",
                )
            )
    return rows


def measure(frames: int, *options: str) -> RunMemory:
    """Figures of one run in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        scene = write_scene(Path(folder), frames)
        command = [sys.executable, "-m", "scripts.benchmarks.host_memory", "--one", folder]
        command += options
        root = str(Path(__file__).parents[2])
        environment = {**os.environ, "PYTHONPATH": root}
        process = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, check=False
        )
        assert scene.is_file()
        if process.returncode:
            raise RuntimeError(f"{frames} frames failed:\n{process.stderr}")
        figures = RunMemory(**json.loads(process.stdout.splitlines()[-1]))
        assert figures.frames == frames
        return figures


def write_scene(folder: Path, frames: int) -> Path:
    """`reference.png`, `driving.mp4` and `poses.npz` of a person who repeats one motion."""
    import numpy as np

    from animate.files import sha256
    from animate.media import open_writer, write_png
    from pose.sequence import PoseSequence
    from scripts.tiny.characters import render_clip

    take = render_clip(7, _TAKE, SIZE, shot="full")
    write_png(folder / "reference.png", take.reference)
    driving = folder / "driving.mp4"
    with open_writer(driving, size=SIZE, fps=Fraction(24)) as writer:
        for frame in range(frames):
            writer.write(take.frames[frame % _TAKE])
    turns = -(-frames // _TAKE)
    return PoseSequence(
        points=np.tile(take.points, (turns, 1, 1))[:frames, None],
        scores=np.tile(take.scores, (turns, 1))[:frames, None],
        canvas=SIZE,
        fps=Fraction(24),
        times=np.arange(frames) / 24,
        source=sha256(driving),
        estimator="drawn",
    ).save(folder / "poses.npz")


def animate_one(folder: Path, *, estimate: bool, idle: bool) -> RunMemory:
    """One run of the bundled model, with its peak after each stage."""
    from animate import AnimationRequest, Animator, SamplingOptions
    from animate.clip.clock import peak_host_bytes
    from animate.request.request import RuntimeOptions

    request = AnimationRequest(
        reference=folder / "reference.png",
        driving=folder / "driving.mp4",
        output=folder / "clip.mp4",
        model="tiny",
        size="96x96",
        poses=None if estimate else folder / "poses.npz",
        retarget="none",
        sampling=SamplingOptions(steps=1, overlap=1),
        runtime=RuntimeOptions(cache=Path("none")),
    )
    began = time.monotonic()
    progress = _Peaks(folder / ".clip.mp4.work")
    animator = Animator.for_request(request)
    if idle:
        make_idle(animator.engine.components)
    progress.peaks["loading"] = peak_host_bytes()
    result = animator(request, progress=progress)
    return RunMemory(
        frames=result.frames,
        peak=peak_host_bytes(),
        stages=progress.peaks,
        seconds=time.monotonic() - began,
        kept_bytes=progress.largest,
    )


def make_idle(parts: Any) -> None:
    """Networks that take and give tensors of the right shapes, and do nothing."""
    import torch

    from animate.generate import video_diffusion

    channels = parts.vae.config.latent_channels
    scale = 2 ** (len(parts.vae.config.block_out_channels) - 1)

    def unet(sample: Any, *args: Any, **kwargs: Any) -> Any:
        return (sample[:, :, :channels].contiguous(),)

    def control(drawn: Any, timestep: Any) -> Any:
        return torch.zeros(drawn.shape[1], 1, 1, 1)

    def decode(vae: Any, latents: Any, options: Any, *, first: int) -> Iterator[Any]:
        height, width = (side * scale for side in latents.shape[-2:])
        for start in range(first, len(latents), options.group):
            yield torch.zeros(min(options.group, len(latents) - start), 3, height, width)

    parts.unet.forward, parts.controlnext.forward = unet, control
    # It goes past the decoder's own `forward`.
    vars(video_diffusion)["decode_frames"] = decode


class _Peaks(Sink):
    """A `Progress` that notes the peak after each stage, and how much work was kept."""

    def __init__(self, work: Path) -> None:
        self.peaks: dict[str, int] = {}
        self.largest = 0
        self._work = work

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[_Peaks]:
        from animate.clip.clock import peak_host_bytes

        yield self
        self.peaks[name] = peak_host_bytes()

    def advance(self, steps: int = 1) -> None:
        if self._work.is_dir():
            self.largest = max(self.largest, sum(f.stat().st_size for f in self._work.glob("*-*")))

    def skip(self, steps: int = 1) -> None:
        self.advance(steps)

    def note(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        print(text, file=sys.stderr)


def plot(figures: Path, picture: Path) -> None:
    """A picture of the peaks over the length, from the figures of `scripts/benchmark.py`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = json.loads(figures.read_text())["benchmarks"]["host_memory"]["rows"]
    chart, axes = pyplot.subplots(figsize=(6, 3.2), dpi=90)
    kinds = (("", "the bundled model"), (POSES, "poses estimated too"), (IDLE, "idle networks"))
    for start, label in kinds:
        points = [
            (int(name.split()[0]), row["value"])
            for row in rows
            if row["name"].startswith(start)
            and (name := row["name"].removeprefix(start))[0].isdigit()
            and name.endswith(" frames: peak")
        ]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=label)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("frames of the clip")
    axes.set_ylabel("peak resident memory, MiB")
    axes.grid(alpha=0.3)
    axes.legend()
    chart.tight_layout()
    chart.savefig(picture)


def main(arguments: list[str]) -> None:
    """See the module's docstring."""
    if arguments[:1] == ["--one"]:
        estimate, idle = "--estimate" in arguments, "--idle" in arguments
        figures = animate_one(Path(arguments[1]), estimate=estimate, idle=idle)
        print(json.dumps(asdict(figures)))
    elif arguments[:1] == ["--plot"]:
        plot(Path(arguments[1]), Path(arguments[2]))
    else:
        options = [text for text in arguments if text.startswith("--")]
        lengths = [int(text) for text in arguments if text not in options]
        for row in series("".join(options), lengths, *options):
            print(f"{row.name:34} {row.value:10.1f} {row.unit:4} {row.note}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
