"""Equal runs, digested stage by stage, beside busy processes: one seed must give the same frames.

    python -m scripts.robustness.same_frames --runs 500
    python -m scripts.robustness.same_frames --runs 500 --per-process 1

The demo's pair is animated over and over, with 1 and with 2 threads in turn, in new processes of
`--per-process` clips each; neighbours that keep a processor busy come and go between them. Of each
clip the decoded frames, the control pictures (of poses found anew, or, in every other clip, taken
from the cache that the one before it wrote), the latents after each window and step, the frames and
the file are digested. Memory that nobody has written holds another byte in each process, so that
whatever reads it gives other digests. The first stage that differs from the first run with as many
threads is named; exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # run as a file, python puts this folder there and not the root
    sys.path.insert(0, str(ROOT))

from animate.clip.fingerprint import FileDigests  # noqa: E402
from animate.clip.motion import ClipInputs, find_motion  # noqa: E402
from animate.driving.poses import selection_of  # noqa: E402
from animate.driving.skeletons import ControlFrames  # noqa: E402
from animate.generate.clip_state import ClipState, KeepsNothing  # noqa: E402
from animate.generate.decoding import decode  # noqa: E402
from animate.generate.pipeline import Engine, sample  # noqa: E402
from animate.generate.settings import settle  # noqa: E402
from animate.media import open_video, open_writer, read_image  # noqa: E402
from animate.models.components import load_components  # noqa: E402
from animate.models.variants import resolve  # noqa: E402
from animate.progress import Quiet  # noqa: E402
from animate.request.request import AnimationRequest  # noqa: E402
from animate.request.values import Size  # noqa: E402
from pose.estimators import load_estimator  # noqa: E402
from scripts.tiny.make_demo import main as make_demo  # noqa: E402

Digests = dict[str, str]
_BUSY = "while True: pass"


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Equal runs, digested stage by stage.")
    parser.add_argument("--runs", type=int, default=200, metavar="N")
    parser.add_argument("--threads", default="1,2", metavar="N,N", help="taken in turn")
    parser.add_argument("--neighbours", type=int, default=2, metavar="N", help="at most")
    parser.add_argument("--frames", type=int, default=10, metavar="N")
    parser.add_argument("--steps", type=int, default=4, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the neighbours")
    parser.add_argument("--per-process", type=int, default=4, metavar="N", help="clips of each")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child is not None:
        torch.set_num_threads(int(options.threads))
        numbers = range(options.first, options.first + options.runs)
        for digests in clips(options.child, numbers, options.frames, options.steps):
            print(json.dumps(digests), flush=True)
        return 0
    with tempfile.TemporaryDirectory(prefix="same-frames-") as folder:
        make_demo(Path(folder))
        faults = Counter(compare(Path(folder), options))
    for fault, count in faults.items():
        print(f"FAULT: {fault} ({count} times)")
    return 1 if faults else 0


def compare(folder: Path, options: argparse.Namespace) -> Iterator[str]:
    """Make all clips; yields the faults."""
    rng = random.Random(options.seed)
    counts = [int(count) for count in options.threads.split(",")]
    first: dict[int, Digests] = {}
    done: Counter[int] = Counter()
    while done.total() < options.runs:
        # Two clips have one cache between them, so the threads change every other process at least.
        threads = counts[done.total() // max(options.per_process, 2) % len(counts)]
        numbers = range(done.total(), min(done.total() + options.per_process, options.runs))
        with neighbours(rng.randint(0, options.neighbours)):
            rows = in_a_process(folder, threads, numbers, options, fill=rng.randint(1, 255))
        for digests in rows:
            done[threads] += 1
            fault = difference(first.setdefault(threads, digests), digests)
            if fault is not None:
                yield f"{threads} threads: {fault} differs"
    made = ", ".join(f"{done[threads]} with {threads} thread(s)" for threads in counts)
    print(f"{done.total()} runs: {made}; {len(next(iter(first.values())))} digests each")


def difference(expected: Digests, digests: Digests) -> str | None:
    """The first stage whose digest is another; None where all are equal."""
    return next((name for name in expected if digests.get(name) != expected[name]), None)


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Keep so many processors busy, as little urgently as this process."""
    busy = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def in_a_process(
    folder: Path, threads: int, numbers: range, options: argparse.Namespace, *, fill: int
) -> list[Digests]:
    """Digests of the clips of these numbers, which a new process makes.

    fill: the byte that memory holds which glibc hands out
    """
    command = [sys.executable, "-m", "scripts.robustness.same_frames", "--child", str(folder)]
    for name in ("frames", "steps"):
        command += [f"--{name}", str(getattr(options, name))]
    command += ["--first", str(numbers.start), "--runs", str(len(numbers))]
    command += ["--threads", str(threads)]
    # Threads that spin while they wait would measure the neighbours and nothing else.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "MALLOC_PERTURB_": str(fill)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def clips(folder: Path, numbers: range, frames: int, steps: int) -> Iterator[Digests]:
    """Digests of equal clips, one after another, by the name of the stage.

    Clips 0 and 1 share a cache of poses, as do 2 and 3: the second finds them there.
    """
    estimator = load_estimator("blazepose")
    engine = Engine(components=load_components(resolve("tiny").variant), device=torch.device("cpu"))
    for number in numbers:
        request = AnimationRequest.from_dict(
            {
                "reference": folder / "reference.png",
                "driving": folder / "driving.mp4",
                "output": folder / "clip.mp4",
                "cache": folder / f"poses-{number // 2}",
                "max_frames": frames,
                "steps": steps,
            }
        )
        yield clip(request, engine, estimator)


def clip(request: AnimationRequest, engine: Engine, estimator: Any) -> Digests:
    """Digests of one clip, by the name of the stage, in order."""
    variant = engine.components.variant
    picture, source = read_image(request.reference), open_video(request.driving)
    settings = settle(request, variant, Size(picture.shape[1], picture.shape[0]))
    motion = find_motion(
        request,
        ClipInputs(
            picture=picture,
            source=source,
            digests=FileDigests().of_inputs(request),
        ),
        variant,
        settings.size,
        lambda: estimator,
        Quiet(),
    )
    control, states = ControlFrames(motion.skeletons), _States()
    latents = sample(engine, settings, motion.picture, control, Quiet(), states)
    frames = list(decode(engine, settings, latents, Quiet()))
    return {
        "reference": digest(picture),
        "decoded frames": digest(*(frame.image for frame in source.read(selection_of(request)))),
        "reference on the canvas": digest(motion.picture),
        "control pictures": digest(control(range(len(control))).numpy()),
        **states.digests,
        "latents": digest(latents.numpy()),
        "frames": digest(*frames),
        "file": written(frames, request.output),
    }


def written(frames: Sequence[np.ndarray], path: Path) -> str:
    """Digest of the clip's file, which encoders have decided too."""
    height, width = frames[0].shape[:2]
    with open_writer(path, size=(width, height), fps=Fraction(12), overwrite=True) as writer:
        for frame in frames:
            writer.write(frame)
    return digest(np.frombuffer(path.read_bytes(), np.uint8))


class _States(KeepsNothing):
    """A `Keeper` that digests the clip between two calls of the network."""

    def __init__(self) -> None:
        self.digests: Digests = {}

    def offer_state(self, state: ClipState, scheduler: Any) -> None:
        """See `Keeper.offer_state`."""
        name = f"latents at step {state.step}, window {state.window}"
        self.digests[name] = digest(state.latents.numpy(), state.fused.numpy())


def digest(*arrays: np.ndarray) -> str:
    """SHA-256 of the bytes of arrays, cut short."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()[:16]


if __name__ == "__main__":
    raise SystemExit(main())
