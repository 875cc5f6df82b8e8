"""Bad inputs: damaged files, hostile values, tampered records and links, by a seed.

    python -m scripts.robustness.bad_inputs --cases 2000 --seed 0

Each case is given to the command's own entry point, in worker processes. Counted are faults of the
program (a traceback, exit code 1), wrong exit codes, crashes, hangs (30 s of processor time, or
five minutes by the clock, which a crowded machine needs), partial outputs, changed bytes of other
people's files, and results that a damaged work folder has changed. Exit code 1 if there was any.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # run as a file, python puts this folder there and not the root
    sys.path.insert(0, str(ROOT))

from animate.files import is_partial  # noqa: E402
from scripts.robustness.cases import Case, prepare  # noqa: E402
from scripts.robustness.inputs import open_studio  # noqa: E402

PROCESSOR_SECONDS, CLOCK_SECONDS, _START_SECONDS = 30.0, 300.0, 900.0
_MOST_STARTS = 50


@dataclass(frozen=True, kw_only=True)
class Result:
    """The end of one case."""

    case: int
    """Its number."""
    kind: str = "?"
    file: str = "?"
    code: int | None = None
    """Exit code; None where the process did not end by itself."""
    wrong: str = ""
    """The fault; empty for a right end."""
    text: str = ""
    """The end of what was printed."""
    seconds: float = 0.0
    """Processor time."""

    def describe(self) -> str:
        return f"\ncase {self.case} ({self.kind}, {self.file}): {self.wrong}\n{self.text}"


def main(arguments: list[str] | None = None) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Give bad inputs to the program.")
    parser.add_argument("--cases", type=int, default=2000, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every result here too")
    parser.add_argument("--worker", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker is not None:
        return work(options.worker, options.seed)
    numbers = iter(range(options.first, options.first + options.cases))
    with tempfile.TemporaryDirectory(prefix="bad-inputs-") as folder:
        results = run_all(numbers, options.seed, options.workers, Path(folder))
    return report(results, options.json)


def run_all(numbers: Iterator[int], seed: int, workers: int, folder: Path) -> list[Result]:
    """The results of the cases, in the order in which they ended."""
    results: list[Result] = []
    crew = [Worker(folder / str(index), seed) for index in range(workers)]
    try:
        for worker in crew:
            worker.give(next(numbers, None))
        while busy := [worker for worker in crew if worker.case is not None]:
            ready, _, _ = select.select([worker.answers for worker in busy], [], [], 0.5)
            for worker in busy:
                result = worker.result() if worker.answers in ready else worker.overdue()
                if result is not None:
                    results.append(result)
                    if result.wrong:
                        print(result.describe(), flush=True)
                    if len(results) % 20 == 0:
                        print(f"{len(results)} cases", flush=True)
                    worker.give(next(numbers, None))
    finally:
        for worker in crew:
            worker.end()
    return results


class Worker:
    """A process that meets one case after another; replaced when it dies or hangs."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed, self._starts = folder, seed, 0
        self._log = folder.with_suffix(".log")
        self.case: int | None = None
        self._start()

    def _start(self) -> None:
        self._starts += 1
        folder = self._folder.with_name(f"{self._folder.name}-{self._starts}")
        command = [sys.executable, __file__, "--worker", str(folder), "--seed", str(self._seed)]
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

    def result(self) -> Result | None:
        """The worker's result of its case, or that it died."""
        line = self.answers.readline()
        if line == "ready\n":
            self._ready, self._since, self._used = True, time.monotonic(), self._processor()
            return None
        if line:
            return Result(**json.loads(line))
        return self._replaced("crash", f"the process ended with {self._process.wait()}")

    def overdue(self) -> Result | None:
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

    def _replaced(self, wrong: str, text: str) -> Result:
        case, ready = self.case, self._ready
        assert case is not None
        self.end()
        if not ready and self._starts > _MOST_STARTS:
            raise SystemExit(f"a worker could not begin: {text}; see {self._log}")
        self._start()
        return Result(case=case, wrong=wrong, text=text)

    def _processor(self) -> float:
        """Seconds that the process has computed."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def work(folder: Path, seed: int) -> int:
    """Meet the cases whose numbers come in, and print the result of each."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    load_models_once()
    folder.mkdir(parents=True)
    studio = open_studio(folder)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        studio.empty()
        result = meet(int(line), prepare(int(line), seed, studio), studio.folder)
        print(json.dumps(asdict(result)), file=answers, flush=True)
    return 0


def load_models_once() -> None:
    """Keep the networks from case to case: nothing here damages them."""
    from animate import animator

    load: Any = animator.load_components
    loaded: dict[str, Any] = {}

    def load_once(variant: Any, *arguments: Any, **named: Any) -> Any:
        key = f"{variant.name} {arguments} {named}"
        if key not in loaded:
            loaded[key] = load(variant, *arguments, **named)
        return loaded[key]

    vars(animator)["load_components"] = load_once


def meet(number: int, case: Case, folder: Path) -> Result:
    """Run the case's command in this process."""
    from animate.cli.main import main as cnx

    printed = io.StringIO()
    began = time.process_time()
    with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
        try:
            code = cnx(case.argv)
        except BaseException as error:  # the command itself never raises
            code = 1
            print(f"Traceback: {type(error).__name__}: {error}")
    text = printed.getvalue()
    return Result(
        case=number,
        kind=case.kind,
        file=case.file,
        code=code,
        wrong=fault(code, text, case, folder),
        text=text[-600:],
        seconds=round(time.process_time() - began, 2),
    )


def fault(code: int, text: str, case: Case, folder: Path) -> str:
    """The fault in the end of a case; empty where it is right."""
    if code == 1 or "Traceback" in text or "a fault of the program" in text:
        return "fault"
    if code not in case.codes:
        return "wrong exit code"
    if code and not text.strip():
        return "silent failure"
    if any(Path(path).read_bytes() != content for path, content in case.foreign):
        return "foreign bytes changed"
    partial = [file for file in folder.rglob("*") if is_partial(file.name)]
    there = [Path(path) for path in case.outputs if Path(path).exists()]
    expected = len(case.outputs) if code == 0 or case.kind == "manifest" else 0
    if partial or (case.kind != "batch" and len(there) != expected):
        return "partial output"
    leaves = any(file.name.endswith(".work") for file in folder.iterdir())
    if leaves and code == 0 and case.kind != "link":
        return "work left behind"
    if there and case.outputs[0].endswith(".mp4"):
        return _wrong_clip(case)
    return ""


def _wrong_clip(case: Case) -> str:
    """The fault in a clip: not as its record says, or not as a damaged work folder must give."""
    from animate.errors import MediaError
    from animate.media import open_video

    try:
        frames = sum(1 for _ in open_video(case.outputs[0]).read())
    except MediaError:
        return "partial output"
    if case.kind == "batch":  # its record may be the very file that was damaged
        return "" if frames else "partial output"
    record = json.loads(Path(case.outputs[1]).read_text())["output"]
    if frames != record["frames"]:
        return "partial output"
    if case.frames_sha256 and record["frames_sha256"] != case.frames_sha256:
        return "other frames"
    return ""


def report(results: list[Result], path: Path | None) -> int:
    """Print a table and every fault; returns the exit code."""
    kinds = Counter((result.kind, "refused" if result.code else "done") for result in results)
    print(f"\n{'':12}{'cases':>7}{'done':>7}{'refused':>9}")
    for kind in sorted({kind for kind, _ in kinds}):
        done, refused = kinds[kind, "done"], kinds[kind, "refused"]
        print(f"{kind:12}{done + refused:7}{done:7}{refused:9}")
    wrong = Counter(result.wrong for result in results if result.wrong)
    listed = ("fault", "wrong exit code", "crash", "hang", "partial output",
              "foreign bytes changed", "other frames")  # fmt: skip
    counts = ", ".join(
        f"{what}: {wrong[what]}" for what in (*listed, *sorted({*wrong} - {*listed}))
    )
    print(f"\n{len(results)} cases; {counts}")
    print(
        f"the slowest took {max((r.seconds for r in results), default=0):.1f} s of processor time"
    )
    if path is not None:
        path.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
