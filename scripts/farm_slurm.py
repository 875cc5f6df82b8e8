"""Clips of a manifest as a Slurm array: each task is `cnx batch` on a few rows.

    python scripts/farm_slurm.py jobs.jsonl --output-dir clips --rows 1-200 --rows-per-task 10 \
        --gpus 1 --minutes 120 -- --model svd-v2 --steps 25

Words after -- go to `cnx batch` as they are. A task that Slurm preempts, or whose time is up, is
queued again and goes on where it was. --local runs the tasks on this machine. Needs the extra
[slurm]; configs/farm/slurm.sh does the same without it. Exit code 1 when a task failed (with
--wait or --local), 2 for a mistake.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, python puts scripts/ there and not its parent
    sys.path.insert(0, str(ROOT))

from animate.batch.ranges import format_ranges, parse_ranges  # noqa: E402
from animate.errors import AnimateError, ExecutorError, RequestError  # noqa: E402


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One task: some rows of the manifest. Slurm's queue holds it pickled.

    Attributes:
        manifest, output_dir: absolute paths.
        rows: as `cnx batch --rows` takes them.
        options: further words for `cnx batch`.
    """

    manifest: str
    output_dir: str
    rows: str
    options: tuple[str, ...]

    def __call__(self) -> int:
        """Make the clips; returns `cnx batch`'s exit code, 3 when some rows failed."""
        command = [sys.executable, "-m", "animate.cli.main", "batch", self.manifest]
        command += ["--output-dir", self.output_dir, "--rows", self.rows, "--no-report"]
        return subprocess.run([*command, *self.options], cwd=ROOT, check=False).returncode

    def checkpoint(self) -> Any:
        """The task that submitit queues again when this one must leave: itself; nothing is lost."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def tasks_of(rows: Sequence[int], size: int) -> list[str]:
    """The rows in pieces of `size`, each as `cnx batch --rows` takes it."""
    if size < 1:
        raise RequestError(f"rows per task {size} is not at least 1")
    return [format_ranges(rows[start : start + size]) for start in range(0, len(rows), size)]


def submit(options: argparse.Namespace) -> list[Any]:
    """Hand the tasks to Slurm, or to processes of this machine; returns submitit's jobs.

    Raises ExecutorError where submitit or Slurm is missing.
    """
    pieces = tasks_of(parse_ranges(options.rows), options.rows_per_task)
    try:
        import submitit
    except ImportError as reason:
        raise ExecutorError(
            "submitit is not installed; install it: pip install 'cnx-animate[slurm]', or use "
            "configs/farm/slurm.sh, which needs Slurm alone"
        ) from reason
    try:
        executor = submitit.AutoExecutor(
            folder=options.logs, cluster="local" if options.local else "slurm"
        )
    except RuntimeError as reason:
        raise ExecutorError(f"{reason}; on a machine without Slurm, give --local") from reason
    executor.update_parameters(
        name="cnx",
        timeout_min=options.minutes,
        cpus_per_task=options.cpus,
        gpus_per_node=options.gpus,
        slurm_array_parallelism=options.at_once,
        **({"slurm_partition": options.partition} if options.partition else {}),
    )
    manifest, output = str(options.manifest.resolve()), str(options.output_dir.resolve())
    extra = tuple(options.options)
    tasks = [Rows(manifest=manifest, output_dir=output, rows=p, options=extra) for p in pieces]
    with executor.batch():
        return [executor.submit(task) for task in tasks]


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    own = given[: given.index("--")] if "--" in given else given
    parser = argparse.ArgumentParser(
        description="Clips of a manifest as a Slurm array, or as tasks of this machine.",
        epilog="Words after -- go to cnx batch.",
    )
    parser.add_argument("manifest", type=Path, help=".jsonl, .csv or .yaml")
    parser.add_argument("--output-dir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rows", required=True, metavar="A-BxN", help="rows to make, as 1-200")
    parser.add_argument("--rows-per-task", type=int, default=1, metavar="N")
    parser.add_argument("--at-once", type=int, default=100, metavar="N", help="tasks at a time")
    parser.add_argument("--minutes", type=int, default=240, metavar="N", help="of a task, at most")
    parser.add_argument("--cpus", type=int, default=4, metavar="N", help="processors of a task")
    parser.add_argument("--gpus", type=int, default=0, metavar="N", help="GPUs of a task")
    parser.add_argument("--partition", default="", help="of the cluster")
    parser.add_argument("--logs", type=Path, default=Path("slurm-logs"), metavar="DIR")
    parser.add_argument("--local", action="store_true", help="on this machine, and wait")
    parser.add_argument("--wait", action="store_true", help="until all tasks are done")
    options = parser.parse_args(own)
    options.options = given[len(own) + 1 :]
    try:
        if not options.manifest.is_file():
            raise RequestError(f"manifest {options.manifest} does not exist; check the path")
        jobs = submit(options)
    except AnimateError as mistake:
        print(f"farm_slurm: {mistake}", file=sys.stderr)
        return 2
    print(f"{len(jobs)} tasks, logs in {options.logs}")
    if not (options.wait or options.local):
        return 0
    failed = 0
    for job in jobs:
        try:
            code = job.result()
        except Exception as reason:  # whatever submitit tells of a task that ended badly
            code = str(reason).strip().splitlines()[-1]
        failed += code != 0
        print(f"task {job.job_id}: {'done' if code == 0 else f'failed ({code})'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
