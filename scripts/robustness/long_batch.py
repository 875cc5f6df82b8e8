"""A long batch: many jobs, a tenth of them bad, the program killed on the way.

    python -m scripts.robustness.long_batch FOLDER --jobs 200 --workers 2 --kills 2

Renders a scene and a manifest into FOLDER, runs `cnx batch` over it, kills it with SIGKILL in the
middle as often as asked and starts it again, and compares the end with a run that nobody touched:
every good job done, every bad one recorded with its kind, none lost, none doubled, the same frames.
It also prints the growth of the workers' memory from the beginning to the end. Exit code 1 if
anything is not as it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # run as a file, python puts this folder there and not the root
    sys.path.insert(0, str(ROOT))

SIZE, FRAMES, FPS = (64, 96), 3, Fraction(12)
DRIVERS = 5
REFERENCES = 6
BAD = ("missing-file", "media", "pose", "request")
"""Faults of the bad rows: a file that is not there, a damaged video, nobody in it, a size that the
model cannot make."""
_SETTINGS = {"model": "tiny", "steps": 1, "window": 3, "retarget": "none", "size": "32x48"}


def main(argv: list[str]) -> int:
    """Run it all; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args(argv)
    manifest, expected = write_scene(arguments.folder, arguments.jobs)
    calm, hard = arguments.folder / "untouched", arguments.folder / "killed"
    figures: dict[str, Any] = {"jobs": arguments.jobs, "workers": arguments.workers}
    began = time.monotonic()
    figures["ended_at_kill"] = [
        kill(manifest, hard, arguments.workers, arguments.jobs * (n + 1) // (arguments.kills + 1))
        for n in range(arguments.kills)
    ]
    figures["workers_left"] = workers_left(hard)
    run(manifest, hard, arguments.workers)
    figures["seconds_killed"] = round(time.monotonic() - began, 1)
    figures["seconds_untouched"] = run(manifest, calm, arguments.workers)
    figures |= growth(calm)
    faults = [*compare(calm, expected), *compare(hard, expected), *differences(calm, hard)]
    faults += [f"worker {pid} lived on" for pid in figures["workers_left"]]
    figures |= {"counts": counts(hard), "faults": faults}
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    return 1 if faults else 0


def write_scene(folder: Path, jobs: int) -> tuple[Path, dict[str, str]]:
    """Write the media and the manifest; returns it and the status that each output should have."""
    from animate.media import write_png

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(REFERENCES):
        write_png(folder / f"reference{number}.png", _take(2_000_100 + number, 1).reference)
    for number in range(DRIVERS):
        _write_driver(folder, number)
    _write_bad(folder)
    rows, expected = [], {}
    bad = set(random.Random(7).sample(range(jobs), jobs // 10))
    kinds = iter(BAD * jobs)
    for number in range(jobs):
        kind = next(kinds) if number in bad else "done"
        rows.append(_row(number, kind))
        expected[rows[-1]["output"]] = kind
    path = folder / "jobs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path, expected


def _row(number: int, kind: str) -> dict[str, Any]:
    driver = number % DRIVERS
    row: dict[str, Any] = {
        **_SETTINGS,
        "reference": f"reference{number % REFERENCES}.png",
        "driving": f"driving{driver}.mp4",
        "poses": f"driving{driver}.npz",
        "seed": number,
        "output": f"clip{number:04}.mp4",
    }
    if kind == "missing-file":
        row["driving"] = "gone.mp4"
    elif kind == "media":
        row["driving"] = "damaged.mp4"
    elif kind == "pose":
        row["driving"] = "nobody.mp4"
        del row["poses"]
    elif kind == "request":
        row["size"] = "33x48"
    return row


def _take(seed: int, frames: int) -> Any:
    from scripts.tiny.characters import render_clip

    return render_clip(seed, frames, SIZE, shot="full", speed=0.05)


def _write_driver(folder: Path, number: int) -> None:
    """A driving video with the poses that it was drawn by."""
    from animate.files import sha256
    from pose.sequence import PoseSequence

    take = _take(2_000_200 + number, FRAMES)
    video = folder / f"driving{number}.mp4"
    _write_video(video, take.frames)
    PoseSequence(
        points=take.points[:, None].astype(np.float32),
        scores=take.scores[:, None].astype(np.float32),
        canvas=SIZE,
        fps=FPS,
        times=np.arange(FRAMES) / float(FPS),
        source=sha256(video),
        estimator="rendered",
    ).save(folder / f"driving{number}.npz")


def _write_bad(folder: Path) -> None:
    video = (folder / "driving0.mp4").read_bytes()
    (folder / "damaged.mp4").write_bytes(video[: len(video) // 3])
    _write_video(folder / "nobody.mp4", np.full((2, SIZE[1], SIZE[0], 3), 40, np.uint8))


def _write_video(path: Path, frames: np.ndarray) -> None:
    from animate.media import open_writer

    with open_writer(path, size=SIZE, fps=FPS, overwrite=True) as writer:
        for frame in frames:
            writer.write(frame)


def start(manifest: Path, output: Path, workers: int) -> subprocess.Popen[bytes]:
    """`cnx batch`, as a farm would start it."""
    command = [sys.executable, "-m", "animate.cli.main", "batch", str(manifest)]
    command += ["--output-dir", str(output), "--jobs", str(workers), "--quiet"]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})


def run(manifest: Path, output: Path, workers: int) -> float:
    """Let it run to its end; returns its wall seconds. Exit code 3 says that some failed."""
    began = time.monotonic()
    with start(manifest, output, workers) as program:
        code = program.wait()
    if code != 3:
        raise SystemExit(f"cnx batch ended with code {code}, not 3")
    return round(time.monotonic() - began, 1)


def kill(manifest: Path, output: Path, workers: int, after: int) -> int:
    """Kill it when `after` jobs have come to an end; returns the number of those that had."""
    with start(manifest, output, workers) as program:
        while len(ended(output)) < after and program.poll() is None:
            time.sleep(0.05)
        program.send_signal(signal.SIGKILL)
    return len(ended(output))


def records(output: Path) -> list[dict[str, Any]]:
    """Every record there is."""
    return [json.loads(path.read_text()) for path in sorted(output.glob("*.job.json"))]


def ended(output: Path) -> list[dict[str, Any]]:
    """Records of jobs that came to an end."""
    return [record for record in records(output) if record["status"] != "running"]


def counts(output: Path) -> dict[str, int]:
    """Records by status, failed ones by kind."""
    return dict(Counter(record["error_kind"] or record["status"] for record in records(output)))


def workers_left(output: Path, patience: float = 15.0) -> list[int]:
    """Workers that outlived a program that was killed."""
    named = {record["worker"].rpartition("pid ")[2].rstrip(")") for record in records(output)}
    pids = [int(pid) for pid in named if pid]
    until = time.monotonic() + patience
    while time.monotonic() < until and any(_is_worker(pid) for pid in pids):
        time.sleep(0.1)
    return [pid for pid in pids if _is_worker(pid)]


def _is_worker(pid: int) -> bool:
    try:
        return b"animate.batch.local" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def compare(output: Path, expected: dict[str, str]) -> list[str]:
    """The faults of one output folder."""
    statuses = {Path(r["output"]).name: r["error_kind"] or r["status"] for r in records(output)}
    faults = [
        f"{output.name}/{name}: {statuses.get(name, 'lost')}, not {kind}"
        for name, kind in expected.items()
        if statuses.get(name) != kind
    ]
    good = {name for name, kind in expected.items() if kind == "done"}
    clips = {path.name for path in output.glob("*.mp4")}
    faults += [f"{output.name}/{name}: clip missing" for name in sorted(good - clips)]
    faults += [f"{output.name}/{name}: clip too many" for name in sorted(clips - good)]
    known = {*clips, "report.html", "report.json", *(p.name for p in output.glob("*.json"))}
    left = sorted({path.name for path in output.iterdir()} - known)
    return faults + [f"{output.name}/{name}: left behind" for name in left]


def differences(calm: Path, hard: Path) -> list[str]:
    """Clips whose frames differ between the two folders."""
    return [
        f"{clip.name}: other frames than in the run that nobody touched"
        for clip in sorted(calm.glob("*.mp4"))
        if _frames(clip) != _frames(hard / clip.name)
    ]


def _frames(clip: Path) -> str:
    record = clip.with_suffix(".json")
    return json.loads(record.read_text())["output"]["frames_sha256"] if record.is_file() else ""


def growth(output: Path) -> dict[str, Any]:
    """Peak memory of a worker's jobs in MiB, its 6th to 15th job against its last 10.

    The first ones are left out: libraries load parts of themselves when they are first used.
    """
    by_worker: dict[str, list[int]] = {}
    for record in sorted(records(output), key=lambda r: (r["finished"], r["number"])):
        if record["status"] == "done":
            by_worker.setdefault(record["worker"], []).append(record["peak_host_bytes"])
    growths = {}
    for worker, peaks in sorted(by_worker.items()):
        early, late = peaks[5:15], peaks[-10:]
        if len(peaks) >= 25:
            growths[worker.partition(" (")[0]] = {
                "jobs": len(peaks),
                "early_mib": round(float(np.median(early)) / 2**20, 1),
                "late_mib": round(float(np.median(late)) / 2**20, 1),
            }
    return {"memory": growths}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
