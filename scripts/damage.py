"""Meet damaged inputs: `python scripts/damage.py --cases 2000 --seed 0`.

Videos, images, numbered images, pose files, work folders, YAML and the records of batches are hurt
by a seed and given to the command's own entry point, in worker processes. Counted are faults of
the program (a traceback, exit code 1), crashes, hangs (30 s of processor time, or five minutes by
the clock, which a crowded machine needs), partial outputs, and results that a hurt work folder has
changed. Exit code 1 if there was any.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, python puts scripts/ there and not its parent
    sys.path.insert(0, str(ROOT))

from animate.files import is_partial  # noqa: E402

PROCESSOR_SECONDS, CLOCK_SECONDS, _START_SECONDS = 30.0, 300.0, 900.0
_MOST_STARTS = 50


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Give damaged inputs to the program.")
    parser.add_argument("--cases", type=int, default=2000, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every finding here too")
    parser.add_argument("--worker", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker is not None:
        return work(options.worker, options.seed)
    numbers = iter(range(options.first, options.first + options.cases))
    with tempfile.TemporaryDirectory(prefix="damage-") as folder:
        found = run_all(numbers, options.seed, options.workers, Path(folder))
    return report(found, options.json)


def run_all(numbers: Iterator[int], seed: int, workers: int, folder: Path) -> list[dict[str, Any]]:
    """What became of each case, in the order in which they ended."""
    found: list[dict[str, Any]] = []
    crew = [Worker(folder / str(index), seed) for index in range(workers)]
    try:
        for worker in crew:
            worker.give(next(numbers, None))
        while busy := [worker for worker in crew if worker.case is not None]:
            ready, _, _ = select.select([worker.answers for worker in busy], [], [], 0.5)
            for worker in busy:
                result = worker.result() if worker.answers in ready else worker.overdue()
                if result is not None:
                    found.append(result)
                    if result["wrong"]:
                        print(_told(result), flush=True)
                    if len(found) % 20 == 0:
                        print(f"{len(found)} cases", flush=True)
                    worker.give(next(numbers, None))
    finally:
        for worker in crew:
            worker.end()
    return found


class Worker:
    """A process that meets one case after another; replaced when it dies or hangs."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed, self._count = folder, seed, 0
        self._log = folder.with_suffix(".log")
        self.case: int | None = None
        self._start()

    def _start(self) -> None:
        self._count += 1
        own = self._folder.with_name(f"{self._folder.name}-{self._count}")
        command = [sys.executable, __file__, "--worker", str(own), "--seed", str(self._seed)]
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self.answers = self._process.stdin, self._process.stdout
        self._ready = False

    def give(self, case: int | None) -> None:
        """Begin a case; None: there is no more to do."""
        self.case, self._since = case, time.monotonic()
        self._used = self._processor()
        if case is not None:
            print(case, file=self._orders, flush=True)

    def result(self) -> dict[str, Any] | None:
        """What the worker says of its case, or that it died."""
        line = self.answers.readline()
        if line == "ready\n":
            self._ready, self._since, self._used = True, time.monotonic(), self._processor()
            return None
        if line:
            return dict(json.loads(line))
        return self._replaced("crash", f"the process ended with {self._process.wait()}")

    def overdue(self) -> dict[str, Any] | None:
        """A hang, if it takes too long."""
        clock, used = time.monotonic() - self._since, self._processor() - self._used
        limit = CLOCK_SECONDS if self._ready else _START_SECONDS
        if clock < limit and (used < PROCESSOR_SECONDS or not self._ready):
            return None
        return self._replaced("hang", f"{used:.0f} s of processor time, {clock:.0f} s by the clock")

    def end(self) -> None:
        """Stop the process."""
        self._process.kill()
        self._process.wait()
        self._orders.close()
        self.answers.close()

    def _replaced(self, what: str, words: str) -> dict[str, Any]:
        case, ready = self.case, self._ready
        self.end()
        if not ready and self._count > _MOST_STARTS:
            raise SystemExit(f"a worker could not begin: {words}; see {self._log}")
        self._start()
        return {"case": case, "kind": "?", "file": "?", "code": None, "wrong": what, "said": words}

    def _processor(self) -> float:
        """Seconds that the process has computed."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def work(folder: Path, seed: int) -> int:
    """Meet the cases whose numbers come in, and say what became of each."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    from scripts import _damage

    _load_models_once()
    folder.mkdir(parents=True)
    home, place = folder / "home", folder / "case"
    _damage.build(home)
    place.mkdir()
    _damage.unfinished(home, place / "clip.mp4")
    kept = Path(shutil.move(place / ".clip.mp4.work", folder / "kept"))
    _damage.main([*_damage._run(home, place / "clip.mp4")])
    whole = json.loads((place / "clip.json").read_text())["output"]["frames_sha256"]
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        shutil.rmtree(place)
        place.mkdir()
        number = int(line)
        case = _damage.prepare(number, seed, home, place, kept, whole)
        result = {"case": number, "kind": case.kind, "file": case.file, **meet(case, place)}
        print(json.dumps(result), file=answers, flush=True)
    return 0


def _load_models_once() -> None:
    """Keep the networks from case to case: nothing here hurts them."""
    from animate import animator

    load: Any = animator.load_components
    kept: dict[str, Any] = {}

    def once(variant: Any, *given: Any, **named: Any) -> Any:
        key = f"{variant.name} {given} {named}"
        if key not in kept:
            kept[key] = load(variant, *given, **named)
        return kept[key]

    vars(animator)["load_components"] = once


def meet(case: Any, place: Path) -> dict[str, Any]:
    """Run the case's command in this process; its exit code, what it said, and what is wrong."""
    from animate.cli.main import main as command

    said = io.StringIO()
    begun = time.process_time()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            code = command(case.argv)
        except BaseException as error:  # the command itself never raises
            code = 1
            print(f"Traceback: {type(error).__name__}: {error}")
    text = said.getvalue()
    return {
        "code": code,
        "wrong": fault(code, text, case, place),
        "said": text[-600:],
        "seconds": round(time.process_time() - begun, 2),
    }


def fault(code: int, said: str, case: Any, place: Path) -> str:
    """What is wrong with the end of a case, or nothing."""
    if code not in (0, 2, 3) or "Traceback" in said or "a fault of the program" in said:
        return "fault"
    if code and not said.strip():
        return "silent failure"
    partial = [file for file in place.rglob("*") if is_partial(file.name)]
    there = [Path(path) for path in case.outputs if Path(path).exists()]
    if partial or (case.kind != "batch" and len(there) != (0 if code else len(case.outputs))):
        return "partial output"
    if any(file.name.endswith(".work") for file in place.iterdir()) and code == 0:
        return "work left behind"
    if code == 0 and case.outputs[0].endswith(".mp4"):
        return _unlike(case)
    return ""


def _unlike(case: Any) -> str:
    """Whether the clip is not what its record says, or not what a hurt work folder must give."""
    from animate.errors import MediaError
    from animate.media import open_video

    try:
        shown = sum(1 for _ in open_video(case.outputs[0]).read())
    except MediaError:
        return "partial output"
    if case.kind == "batch":  # its record may be the very file that was hurt
        return "" if shown else "partial output"
    record = json.loads(Path(case.outputs[1]).read_text())["output"]
    if shown != record["frames"]:
        return "partial output"
    if case.frames_sha256 and record["frames_sha256"] != case.frames_sha256:
        return "other frames"
    return ""


def _told(row: dict[str, Any]) -> str:
    return f"\ncase {row['case']} ({row['kind']}, {row['file']}): {row['wrong']}\n{row['said']}"


def report(found: list[dict[str, Any]], path: Path | None) -> int:
    """Print a table and every finding; the exit code."""
    kinds = Counter((row["kind"], "refused" if row["code"] else "done") for row in found)
    print(f"\n{'':12}{'cases':>7}{'done':>7}{'refused':>9}")
    for kind in sorted({kind for kind, _ in kinds}):
        done, refused = kinds[kind, "done"], kinds[kind, "refused"]
        print(f"{kind:12}{done + refused:7}{done:7}{refused:9}")
    wrong = [row for row in found if row["wrong"]]
    counts = Counter(row["wrong"] for row in wrong)
    listed = ("fault", "crash", "hang", "partial output", "other frames")
    print(
        f"\n{len(found)} cases: "
        + ", ".join(f"{counts[what]} {what}s" if what != "other frames" else
                    f"{counts[what]} changed results" for what in listed)
        + (f"; others: {dict(counts)}" if set(counts) - set(listed) else "")
    )  # fmt: skip
    if path is not None:
        path.write_text(json.dumps(found, indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
