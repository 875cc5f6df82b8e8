"""Kill runs of the bundled model with SIGKILL at random moments, go on, and compare the frames.

    python scripts/survive.py --kills 100

Each time a fresh run is killed; then `cnx resume`, or the same `cnx run` once more, must end with
the frames of a run that nobody stopped (their SHA-256), and nothing but the clip and its record may
be left. Runs are processes of their own, forked from one that has loaded the libraries, so that
kills fall into the work and not into the loading. Exit code 1 if any run did not survive.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, python puts scripts/ there and not its parent
    sys.path.insert(0, str(ROOT))


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Kill runs, go on, compare.")
    parser.add_argument("--kills", type=int, default=100, help="runs to kill (default: 100)")
    parser.add_argument("--frames", type=int, default=24, help="frames of the clip (default: 24)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--solver", default="euler", help="solver (default: euler)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder), options.frames, options.solver)
        seconds = trial.uninterrupted()
        print(f"a run takes {seconds:.1f} s; its frames are {trial.frames_sha256[:16]}...")
        return kill_and_resume(trial, options.kills, seconds, random.Random(options.seed))


def kill_and_resume(trial: Trial, kills: int, seconds: float, chance: random.Random) -> int:
    """Kill that many runs; prints what happened and returns the exit code."""
    found: Counter[str] = Counter()
    faults: list[str] = []
    killed = 0
    while killed < kills:
        if not trial.kill(chance.uniform(0, seconds)):
            found["ended before the kill"] += 1
            trial.tidy()
            continue
        killed += 1
        kept = trial.kept()
        found[f"killed with {kept}"] += 1
        if fault := trial.finish(resume=bool(killed % 2)):
            faults.append(fault)
        print(f"{killed}: {kept}; {fault or 'survived'}", file=sys.stderr, flush=True)
        trial.tidy()
    for what, count in sorted(found.items()):
        print(f"{count:4d} {what}")
    for fault in faults:
        print(f"FAULT: {fault}")
    print(f"{killed} killed, {killed - len(faults)} ended as if nothing had happened")
    return 1 if faults else 0


class Trial:
    """One clip's files, and runs that make it."""

    def __init__(self, folder: Path, frames: int, solver: str) -> None:
        """Draw the reference, the driving video and its poses into `folder`."""
        import animate.animator
        import animate.cli.main
        import animate.cli.resume  # noqa: F401 - loaded once, before the forks
        from scripts.benchmarks.host_memory import write_scene

        (folder / "out").mkdir()
        write_scene(folder, frames)
        self.clip = folder / "out" / "clip.mp4"
        named = {
            "reference": folder / "reference.png",
            "driving": folder / "driving.mp4",
            "poses": folder / "poses.npz",
            "output": self.clip,
            "model": "tiny",
            "size": "96x96",
            "retarget": "none",
            "solver": solver,
            "save-every": 0,
        }
        self.command = ["run", "--quiet"]
        self.command += [str(x) for name, value in named.items() for x in (f"--{name}", value)]
        self.frames_sha256 = ""

    @property
    def work(self) -> Path:
        return self.clip.with_name(f".{self.clip.name}.work")

    @property
    def record(self) -> Path:
        return self.clip.with_suffix(".json")

    def uninterrupted(self) -> float:
        """Make the clip that the others are compared with; returns how long it takes."""
        took = []
        for _ in range(2):  # the first one also fills the system's caches
            began = time.monotonic()
            code = ended(start(self.command))
            took.append(time.monotonic() - began)
            assert code == 0, f"the run that nobody stopped ended with {code}"
            self.frames_sha256 = self._digest()
            self.tidy()
        return took[-1]

    def kill(self, after: float) -> bool:
        """Start a run and kill it after that many seconds; False if it had ended by then."""
        process = start(self.command)
        time.sleep(after)
        os.kill(process, signal.SIGKILL)
        return ended(process) == -signal.SIGKILL

    def kept(self) -> str:
        """What a killed run has left, in words."""
        if self.record.exists():
            return "the clip and its record in place"
        if not self.work.is_dir():
            return "nothing begun"
        names = [file.name for file in self.work.iterdir()]
        if "closing" in names:
            return "all frames written"
        for start_of_name, words in (("frames-", "frames kept"), ("latents-", "latents kept")):
            if any(name.startswith(start_of_name) for name in names):
                return words
        return "nothing kept yet"

    def finish(self, *, resume: bool) -> str:
        """Go on with a killed run; returns what is wrong in the end, or an empty text."""
        if self.work.is_dir() or not self.record.exists():
            resumes = resume and (self.work / "work.json").exists()
            command = ["resume", str(self.work), "--quiet"] if resumes else self.command
            if code := ended(start(command)):
                return f"{command[0]} ended with {code}"
        if self._digest() != self.frames_sha256:
            return "the frames are others"
        left = sorted(file.name for file in self.clip.parent.iterdir())
        if left != [self.record.name, self.clip.name]:
            return f"left behind: {left}"
        return ""

    def tidy(self) -> None:
        """Make room for the next run."""
        import shutil

        for file in self.clip.parent.iterdir():
            if file.is_dir():
                shutil.rmtree(file)
            else:
                file.unlink()

    def _digest(self) -> str:
        return str(json.loads(self.record.read_text())["output"]["frames_sha256"])


def start(command: Sequence[str]) -> int:
    """A forked process that runs `cnx` with these arguments; returns its number."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        from animate.cli.main import main as cnx

        code = cnx(list(command))
    finally:
        os._exit(code)


def ended(process: int) -> int:
    """Wait for a process; its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    raise SystemExit(main())
