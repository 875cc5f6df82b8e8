"""Neighbours: two programs that make the same clips at the same time, by a seed.

    python -m scripts.robustness.neighbours --rounds 20

Each round starts two commands, the second a random moment after the first: two batches on one
output folder, or two runs on one output. Both batches must end with code 0 and every clip done; of
two runs one must end with code 0, the other with 0 or 2. A clip and its record belong together, and
nothing else is left. Exit code 1 if any round ended otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # run as a file, python puts this folder there and not the root
    sys.path.insert(0, str(ROOT))

from scripts.robustness.inputs import (  # noqa: E402
    IMAGES,
    VIDEOS,
    batch_command,
    run_command,
    write_inputs,
)

CLIPS = 4
"""Clips of a batch."""


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Run two programs on the same clips.")
    parser.add_argument("--rounds", type=int, default=20, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments")
    parser.add_argument("--latest", type=float, default=12.0, metavar="SECONDS")
    options = parser.parse_args(arguments)
    chance = random.Random(options.seed)
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="neighbours-") as folder:
        home, out = Path(folder) / "home", Path(folder) / "out"
        write_inputs(home)
        manifest = write_manifest(home)
        for number in range(options.rounds):
            out.mkdir()
            begun = chance.uniform(0, options.latest)
            batch = number % 2 == 0
            command = batch_command(manifest, out) if batch else run_command(home, out / "0.mp4")
            codes = side_by_side(command, begun)
            found = batch_faults(codes, out) if batch else run_faults(codes, out)
            kind = "batches" if batch else "runs"
            print(f"round {number}: {kind}, {begun:.1f} s apart, codes {codes}; {found or 'right'}")
            sys.stdout.flush()
            faults += [f"round {number}: {fault}" for fault in found]
            shutil.rmtree(out)
    print(f"{options.rounds} rounds, {len(faults)} faults")
    return 1 if faults else 0


def write_manifest(home: Path) -> Path:
    """Write a manifest of clips that differ by their seeds."""
    files = {"reference": IMAGES[0], "driving": VIDEOS[0], "poses": "poses.npz"}
    rows = [{**files, "seed": number, "output": f"{number}.mp4"} for number in range(CLIPS)]
    manifest = home / "jobs.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def side_by_side(command: Sequence[str], apart: float) -> tuple[int, int]:
    """Run a command twice, the second so many seconds after the first; the exit codes."""
    program = [sys.executable, "-m", "animate.cli.main", *command]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(program, env=environment, stderr=subprocess.DEVNULL) as first:
        time.sleep(apart)
        with subprocess.Popen(program, env=environment, stderr=subprocess.DEVNULL) as second:
            return first.wait(), second.wait()


def batch_faults(codes: tuple[int, int], out: Path) -> list[str]:
    """The faults in the end of two batches."""
    faults = [f"a batch ended with {code}" for code in codes if code != 0]
    names = set()
    for number in range(CLIPS):
        clip = out / f"{number}.mp4"
        record = clip.with_name(f"{clip.name}.job.json")
        names |= {clip.name, clip.with_suffix(".json").name, record.name}
        if not record.exists() or json.loads(record.read_text())["status"] != "done":
            faults.append(f"{clip.name} is not done")
        faults += clip_faults(clip)
    return faults + left_behind(out, names)


def run_faults(codes: tuple[int, int], out: Path) -> list[str]:
    """The faults in the end of two runs."""
    faults = [] if sorted(codes) in ([0, 0], [0, 2]) else [f"the runs ended with {codes}"]
    return faults + clip_faults(out / "0.mp4") + left_behind(out, {"0.mp4", "0.json"})


def clip_faults(clip: Path) -> list[str]:
    """The faults in a clip and its record."""
    from animate.clip.record import ClipRecord, sidecar_path
    from animate.errors import MediaError

    try:
        record = ClipRecord.read(sidecar_path(clip))
    except MediaError as reason:
        return [str(reason)]
    return [] if record.fits(clip, verify=True) else [f"the record is not that of {clip.name}"]


def left_behind(out: Path, names: set[str]) -> list[str]:
    """Files that nobody should find."""
    return [f"left behind: {path.name}" for path in out.iterdir() if path.name not in names]


if __name__ == "__main__":
    raise SystemExit(main())
