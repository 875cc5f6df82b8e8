"""One process: many threads on one animator, and many clips one after another.

    python -m scripts.robustness.one_process --threads 12 --seconds 600 --clips 50

Threads call one animator, and load others beside it, for so long; every clip must have the frames
that it has when it is made alone. Then clips are made one after another; memory and open handles
after the first ten must not grow. Exit code 1 if anything is otherwise.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # run as a file, python puts this folder there and not the root
    sys.path.insert(0, str(ROOT))

from animate import AnimationRequest, Animator  # noqa: E402
from animate.clip.record import ClipRecord, sidecar_path  # noqa: E402
from scripts.robustness.inputs import IMAGES, VIDEOS, write_inputs  # noqa: E402

SEEDS = 4
_WARM = 10
"""Clips after which libraries have loaded all that they load when first used."""
_GROWTH_BYTES = 32 << 20
"""Memory by which later clips may exceed the first ones: what an allocator keeps."""


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Threads, and many clips, in one process.")
    parser.add_argument("--threads", type=int, default=12, metavar="N")
    parser.add_argument("--seconds", type=float, default=600.0, metavar="S", help="for threads")
    parser.add_argument("--clips", type=int, default=50, metavar="N", help="one after another")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the clips' order")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="one-process-") as folder:
        home = Path(folder) / "home"
        write_inputs(home)
        studio = Studio(home, Path(folder))
        faults = studio.threads(options.threads, options.seconds, options.seed)
        faults += studio.clips(options.clips)
    for fault in faults:
        print(f"FAULT: {fault}")
    return 1 if faults else 0


class Studio:
    """An animator, and the frames that its clips have when they are made alone."""

    def __init__(self, home: Path, folder: Path) -> None:
        self._home, self._folder = home, folder
        self._animator = Animator.from_pretrained("tiny", device="cpu")
        self._alone = [self.make(self._animator, seed, "alone") for seed in range(SEEDS)]

    def make(self, animator: Animator, seed: int, name: str) -> str:
        """Make a clip; returns the digest of its frames."""
        output = self._folder / f"{name}-{seed}.mp4"
        animator(
            AnimationRequest.from_dict(
                {
                    "reference": self._home / IMAGES[0],
                    "driving": self._home / VIDEOS[0],
                    "poses": self._home / "poses.npz",
                    "output": output,
                    "size": "32x32",
                    "steps": 2,
                    "window": 3,
                    "overlap": 1,
                    "retarget": "none",
                    "seed": seed,
                    "overwrite": True,
                }
            )
        )
        return ClipRecord.read(sidecar_path(output)).output.frames_sha256

    def threads(self, count: int, seconds: float, seed: int) -> list[str]:
        """Call from several threads for so long; returns the faults."""
        until = time.monotonic() + seconds
        faults: list[str] = []
        made = [0] * count

        def work(index: int) -> None:
            chance = random.Random(f"{seed} {index}")
            while time.monotonic() < until:
                clip, loads = chance.randrange(SEEDS), chance.random() < 0.1
                try:
                    animator = self._animator
                    if loads:
                        animator = Animator.from_pretrained("tiny", device="cpu")
                    digest = self.make(animator, clip, f"thread{index}")
                except Exception as error:
                    faults.append(f"thread {index}: {type(error).__name__}: {error}")
                    continue
                made[index] += 1
                if digest != self._alone[clip]:
                    faults.append(f"thread {index}: other frames with seed {clip}")

        workers = [threading.Thread(target=work, args=(index,)) for index in range(count)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        print(f"{count} threads made {sum(made)} clips in {seconds:.0f} s, {len(faults)} faults")
        return faults

    def clips(self, count: int) -> list[str]:
        """Make clips one after another; returns the faults in memory and handles."""
        memory, handles = [], []
        for number in range(count):
            if self.make(self._animator, number % SEEDS, "row") != self._alone[number % SEEDS]:
                return [f"clip {number} has other frames"]
            memory.append(resident_bytes())
            handles.append(len(os.listdir("/proc/self/fd")))
        if count <= _WARM:
            return []
        print(
            f"{count} clips: {memory[_WARM] / 2**20:.0f} MiB and {handles[_WARM]} handles after "
            f"{_WARM}, {memory[-1] / 2**20:.0f} MiB and {handles[-1]} at the end"
        )
        faults = []
        if memory[-1] > memory[_WARM] + _GROWTH_BYTES:
            faults.append("memory grows")
        if handles[-1] > handles[_WARM]:
            faults.append("handles stay open")
        return faults


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    raise SystemExit(main())
