"""Kill the program with SIGKILL at random moments, go on, and compare the frames.

    python -m scripts.robustness.killed_runs --kills 100 --kind run

Each time a fresh command is killed; then `cnx resume`, or the same command once more, must end with
the frames of one that nobody stopped (their SHA-256), and nothing but what that one leaves may be
there. One that was killed with its clip in place already is followed by `cnx clean`. `--kind` is a
run, a run to numbered images (sequence), or a batch of two clips. Commands are processes of their
own, forked from one that has loaded the libraries, so that kills fall into the work and not into
the loading; more than half of them wait until something is kept. Exit code 1 if any did not
survive.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # run as a file, python puts this folder there and not the root
    sys.path.insert(0, str(ROOT))

KINDS = ("run", "sequence", "batch")
_BEGUN = 0.6
"""Share of the kills that wait until something is kept; the others fall anywhere."""
_GLANCE = 0.005
"""Seconds between two looks at what a command has kept."""


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Kill the program, go on, compare.")
    parser.add_argument("--kills", type=int, default=100, help="runs to kill (default: 100)")
    parser.add_argument("--kind", choices=KINDS, default="run", help="command (default: run)")
    parser.add_argument("--frames", type=int, default=24, help="frames of the clip (default: 24)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--solver", default="euler", help="solver (default: euler)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder), options.kind, options.frames, options.solver)
        seconds = trial.uninterrupted()
        print(f"a {options.kind} takes {seconds:.1f} s; frames {sorted(trial.digests.values())}")
        return kill_and_resume(trial, options.kills, seconds, random.Random(options.seed))


def kill_and_resume(trial: Trial, kills: int, seconds: float, chance: random.Random) -> int:
    """Kill that many commands; prints the ends and returns the exit code."""
    ends: Counter[str] = Counter()
    faults: list[str] = []
    killed = 0
    while killed < kills:
        if not trial.kill(chance.uniform(0, seconds), begun=chance.random() < _BEGUN):
            ends["ended before the kill"] += 1
            trial.tidy()
            continue
        killed += 1
        state = trial.state()
        ends[f"killed with {state}"] += 1
        if fault := trial.finish(resume=bool(killed % 2)):
            faults.append(fault)
        print(f"{killed}: {state}; {fault or 'survived'}", file=sys.stderr, flush=True)
        trial.tidy()
    for end, count in sorted(ends.items()):
        print(f"{count:4d} {end}")
    for fault in faults:
        print(f"FAULT: {fault}")
    print(f"{killed} killed, {killed - len(faults)} ended as if nothing had happened")
    return 1 if faults else 0


class Trial:
    """The files of one command, and processes that run it."""

    def __init__(self, folder: Path, kind: str, frames: int, solver: str) -> None:
        """Draw the reference, the driving video and its poses into `folder`."""
        import animate.animator
        import animate.batch.runner
        import animate.cli.batch
        import animate.cli.main
        import animate.cli.resume  # noqa: F401 - loaded once, before the forks
        from scripts.benchmarks.host_memory import write_scene

        self._output = folder / "out"
        self._output.mkdir()
        write_scene(folder, frames)
        self._resumes = kind != "batch"
        inputs = {
            "reference": folder / "reference.png",
            "driving": folder / "driving.mp4",
            "poses": folder / "poses.npz",
        }
        settings = {
            "model": "tiny",
            "size": "96x96",
            "retarget": "none",
            "solver": solver,
            "save-every": 0,
        }
        options = [str(x) for name, value in settings.items() for x in (f"--{name}", value)]
        command = self._batch if kind == "batch" else self._run
        self._command = [*command(folder, kind, inputs), *options, "--quiet"]
        self.digests: dict[str, str] = {}
        """SHA-256 of the frames of every clip, by the name of its record."""
        self._names: list[str] = []

    def _run(self, folder: Path, kind: str, inputs: dict[str, Path]) -> list[str]:
        clip = self._output / ("clip/%04d.png" if kind == "sequence" else "clip.mp4")
        clip.parent.mkdir(exist_ok=True)
        files = [str(x) for name, path in inputs.items() for x in (f"--{name}", path)]
        return ["run", *files, "--output", str(clip)]

    def _batch(self, folder: Path, kind: str, inputs: dict[str, Path]) -> list[str]:
        manifest = folder / "jobs.jsonl"
        row = {name: str(path) for name, path in inputs.items()}
        rows = [{**row, "seed": number, "output": f"{number}.mp4"} for number in range(2)]
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
        output_dir = str(self._output)
        command = ["batch", str(manifest), "--output-dir", output_dir, "--no-report"]
        return [*command, "--executor", "serial"]

    def uninterrupted(self) -> float:
        """Make the clips that the others are compared with; returns the seconds that it takes."""
        took = 0.0
        for _ in range(2):  # the first one also fills the system's caches
            began = time.monotonic()
            code = ended(start(self._command))
            took = time.monotonic() - began
            if code:
                raise SystemExit(f"the command that nobody stopped ended with {code}")
            self.digests, self._names = self._read_digests(), self._read_names()
            self.tidy()
        return took

    def kill(self, after: float, *, begun: bool) -> bool:
        """Start the command and kill it after that many seconds; False if it had ended by then.

        begun: count the seconds from when the first latents are kept, where most is at stake
        """
        process = start(self._command)
        kept = "**/*.work/latents-*"
        while begun and not has_ended(process) and not any(self._output.glob(kept)):
            time.sleep(_GLANCE)
        time.sleep(after / 2 if begun else after)
        os.kill(process, signal.SIGKILL)
        return ended(process) == -signal.SIGKILL

    def state(self) -> str:
        """The remains of a killed command, in words."""
        if self._read_digests() == self.digests:
            return "everything in place"
        folders = self._work_folders()
        names = [file.name for folder in folders for file in folder.iterdir()]
        if "closing" in names:
            return "all frames written"
        for prefix, words in (("frames-", "frames kept"), ("latents-", "latents kept")):
            if any(name.startswith(prefix) for name in names):
                return words
        return "nothing kept yet" if folders else "nothing begun"

    def finish(self, *, resume: bool) -> str:
        """Go on with a killed command; returns the fault in the end, or an empty text."""
        folders = self._work_folders()
        command = self._command
        if resume and self._resumes and folders and (folders[0] / "work.json").exists():
            command = ["resume", str(folders[0]), "--quiet"]
        unfinished = folders or self._read_digests() != self.digests or not self._resumes
        if unfinished and (code := ended(start(command))):
            return f"{command[0]} ended with {code}"
        if self._read_digests() != self.digests:
            return "the frames are others"
        if not unfinished and (code := ended(start(["clean", "--yes", str(self._output)]))):
            return f"clean ended with {code}"
        if (names := self._read_names()) != self._names:
            return f"left behind or missing: {sorted({*names} ^ {*self._names})}"
        return ""

    def tidy(self) -> None:
        """Make room for the next command."""
        for file in self._output.iterdir():
            if file.is_dir() and not file.is_symlink() and file.name != "clip":
                shutil.rmtree(file)
            elif file.is_dir():
                shutil.rmtree(file)
                file.mkdir()
            else:
                file.unlink()

    def _work_folders(self) -> list[Path]:
        return sorted(path for path in self._output.iterdir() if path.name.endswith(".work"))

    def _read_digests(self) -> dict[str, str]:
        digests = {}
        for path in self._output.glob("*.json"):
            content = json.loads(path.read_text())
            if "frames_sha256" in (content.get("output") or ""):
                digests[path.name] = str(content["output"]["frames_sha256"])
        return digests

    def _read_names(self) -> list[str]:
        return sorted(str(path.relative_to(self._output)) for path in self._output.rglob("*"))


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


def has_ended(process: int) -> bool:
    """True once a process has ended, which `ended` then tells more of."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


if __name__ == "__main__":
    raise SystemExit(main())
