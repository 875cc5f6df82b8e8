"""One clip by 1, 2 and 3 Ray workers, by 2 processes of torchrun, and with a worker killed.

    python scripts/window_bits.py [--model tiny] [--frames 40] [--steps 4] [--size 64x64]

Prints a digest of each one's latents and its time; all digests must be that of the undivided loop.
Exit code 1 when one is not. Ray needs the extra [ray].
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, python puts scripts/ there and not its parent
    sys.path.insert(0, str(ROOT))

from animate.driving.skeletons import ControlFrames  # noqa: E402
from animate.generate.pipeline import Engine, sample  # noqa: E402
from animate.generate.settings import settle  # noqa: E402
from animate.generate.workers.ranks import joined, started_by_torchrun  # noqa: E402
from animate.generate.workers.ray_windows import RayWindows  # noqa: E402
from animate.models.components import load_components  # noqa: E402
from animate.models.variants import resolve  # noqa: E402
from animate.progress import Quiet  # noqa: E402
from animate.request.request import AnimationRequest  # noqa: E402
from animate.request.values import Size  # noqa: E402


class Pictures:
    """Skeletons that are noise: what they show does not matter here."""

    fps = Fraction(25)

    def __init__(self, frames: int, size: Size) -> None:
        shape = (frames, size.height, size.width, 3)
        self._pictures = np.random.default_rng(1).integers(0, 256, shape, np.uint8)

    def __len__(self) -> int:
        return len(self._pictures)

    def picture(self, frame: int) -> np.ndarray:
        """See `Skeletons`."""
        return self._pictures[frame]


class Clip:
    """A model and a clip; `latents` makes it by somebody."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.parts = load_components(resolve(options.model).variant)
        size = Size.parse(options.size)
        values = {"reference": "-", "driving": "-", "output": "-", "guidance": "1:3"}
        request = AnimationRequest.from_dict({**values, "size": size, "steps": options.steps})
        self.settings = settle(request, self.parts.variant, size)
        self.control = ControlFrames(Pictures(options.frames, size))
        self._picture = Pictures(1, size).picture(0)

    def latents(self, executor: Any = None) -> tuple[str, float]:
        """Digest of the latents, and the seconds they took."""
        engine = Engine(components=self.parts, device=torch.device("cpu"), executor=executor)
        start = time.perf_counter()
        latents = sample(engine, self.settings, self._picture, self.control, Quiet())
        digest = hashlib.sha256(latents.contiguous().numpy().tobytes()).hexdigest()
        return digest, time.perf_counter() - start


class Killed:
    """Ray workers of which one is killed when the first window of the second step is there."""

    def __init__(self, executor: RayWindows, windows: int) -> None:
        self.workers, self._executor, self._left = executor.workers, executor, windows + 1

    @contextmanager
    def open(self, parts: Any, work: Any, on_window: Any) -> Any:
        """See `WindowExecutor`."""
        victim = self._executor.pids()[0]

        def count(windows: int) -> None:
            self._left -= windows
            if self._left == 0:
                os.kill(victim, signal.SIGKILL)
            on_window(windows)

        with self._executor.open(parts, work, count) as predict:
            yield predict

    def describe(self) -> str:
        """See `WindowExecutor`."""
        return self._executor.describe()

    def close(self) -> None:
        """See `WindowExecutor`."""


def by_ray(clip: Clip, workers: int) -> dict[str, tuple[str, float]]:
    """The clip by so many workers, once they are there; with two, also with one killed."""
    executor = RayWindows(workers)
    with executor.open(clip.parts, _no_work(clip), lambda n: None):
        executor.pids()  # started
    found = {f"Ray, {workers} worker(s)": clip.latents(executor)}
    if workers == 2:
        windows = -(-(len(clip.control) - clip.settings.overlap)
                    // (clip.settings.window - clip.settings.overlap))  # fmt: skip
        found["Ray, 2 workers, one killed"] = clip.latents(Killed(executor, windows))
    executor.close()
    return found


def _no_work(clip: Clip) -> Any:
    """A clip that is opened and of which nothing is asked."""
    from animate.generate.conditioning import Conditioning
    from animate.generate.denoise import Steps
    from animate.generate.network import ClipWork
    from animate.generate.settings import plan_clip

    empty = torch.zeros(1)
    plan = plan_clip(clip.settings, frames=len(clip.control), steps=1)
    return ClipWork(
        settings=clip.settings,
        steps=Steps(plan=plan, timesteps=empty, scales=(None,)),
        conditioning=Conditioning(embedding=empty, latents=empty, micro=empty),
        control=clip.control,
    )


def by_torchrun(arguments: Sequence[str]) -> tuple[str, float]:
    """The same by two processes of torchrun, which run this file."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", __file__, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    digest, seconds = done.stdout.split()[-2:]
    return digest, float(seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(description="One clip, shared in several ways, to the bit.")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--size", default="64x64")
    options = parser.parse_args(given)
    torch.set_num_threads(1)
    if started_by_torchrun():
        with joined("cpu") as ranks:
            if ranks.rank:
                ranks.serve()
            else:
                print(*Clip(options).latents(ranks))
        return 0
    clip = Clip(options)
    found: dict[str, tuple[str, float]] = {}

    def show(**more: tuple[str, float]) -> None:
        for name, (digest, seconds) in more.items():
            found[name] = (digest, seconds)
            verdict = "the same bits" if digest == found["undivided"][0] else "DIFFERENT"
            print(f"{name:<28} {digest[:16]}  {seconds:7.1f} s  {verdict}", flush=True)

    show(undivided=clip.latents())
    for workers in (1, 2, 3):
        show(**by_ray(clip, workers))
    show(**{"torchrun, 2 processes": by_torchrun(given)})
    extra = found["Ray, 2 workers, one killed"][1] - found["Ray, 2 worker(s)"][1]
    print(f"killing a worker in the middle of a step cost {extra:.1f} s")
    return 0 if len({digest for digest, _ in found.values()}) == 1 else 1


if __name__ == "__main__":
    raise SystemExit(main())
