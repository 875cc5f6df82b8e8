"""`cnx batch`: the clips of a manifest, as many as are missing or changed."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animate.cli.arguments import (
    Parser,
    TextReader,
    add_config,
    add_help_all,
    add_options,
    make_parser,
    parse,
    progress_of,
    typed_settings,
)
from animate.errors import RequestError
from animate.progress import JsonLines, Progress
from animate.request.presets import read_config
from animate.request.request import AnimationRequest, RuntimeOptions, SamplingOptions
from animate.request.values import parse_bytes

if TYPE_CHECKING:
    from animate.batch.manifest import Manifest
    from animate.batch.records import JobRecord

SOME_FAILED = 3
"""Exit code when some jobs failed: the others are done, and the report says which and why. Of a
dry run: some would fail."""

_OWN = ("reference", "driving", "output", "overwrite")


def main(argv: list[str]) -> int:
    """Parse, check the whole manifest, make the clips, report. Returns the exit code."""
    arguments = parse(parser(), argv)
    from animate.batch.manifest import load_manifest
    from animate.batch.ranges import format_ranges, parse_ranges

    manifest = load_manifest(
        arguments.manifest,
        arguments.output_dir,
        staging=arguments.staging,
        staging_limit=arguments.staging_limit,
        defaults=read_config(AnimationRequest, arguments.config),
        overrides=_settings(arguments),
        roots=arguments.root,
        name=arguments.name,
        keep_going=arguments.keep_going,
        rows=None if arguments.rows is None else parse_ranges(arguments.rows),
    )
    progress = progress_of(arguments)
    if manifest.remote is not None and (arguments.evaluate is not None or arguments.dry_run):
        raise RequestError(
            "--evaluate and --dry-run read clips and inputs that are here; with an output URL, run "
            "them on a copy of the folder"
        )
    if arguments.evaluate is not None:
        from animate.evaluation.protocols import load_protocol

        load_protocol(arguments.evaluate)  # refused before any work
    if manifest.absent:
        rows = format_ranges(manifest.absent)
        progress.note(f"no rows {rows}: {manifest.source} has {len(manifest.all_jobs)}")
    if arguments.dry_run:
        return show_plan(manifest, arguments, progress)
    return make(manifest, arguments, progress)


def parser() -> Parser:
    """The arguments of the command."""
    command = make_parser(
        "batch",
        "Make the clips of a manifest: those that are missing, and those whose inputs or settings\n"
        "have changed. A row is what `cnx run` takes; settings given here count for all rows.\n"
        f"Exit code {SOME_FAILED}: some jobs failed, the others are done. See docs/batch.md.",
        "cnx batch jobs.jsonl --output-dir clips --jobs 2",
        "cnx batch MANIFEST --output-dir DIR [options]",
    )
    command.add_argument("manifest", metavar="MANIFEST", help=".jsonl, .csv or .yaml, or its URL")
    group = command.add_argument_group("the batch")
    group.add_argument(
        "--output-dir", required=True, metavar="DIR", help="where clips and report go; may be a URL"
    )
    group.add_argument(
        "--executor", default="local", metavar="EXECUTOR", help="local (default), serial or ray"
    )
    group.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="workers at a time (default: 1)"
    )
    rerun = group.add_mutually_exclusive_group()
    rerun.add_argument(
        "--resume", action="store_true", help="make what is missing or changed (the default)"
    )
    rerun.add_argument("--overwrite", action="store_true", help="make every clip again")
    group.add_argument(
        "--dry-run", action="store_true", help="show the plan, do nothing; exit code as a run's"
    )
    group.add_argument("--rows", metavar="A-BxN", help="only these jobs, such as 1-200x10 or 7")
    group.add_argument(
        "--root",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="refuse files outside this folder, links resolved; may be given several times",
    )
    group.add_argument(
        "--name",
        metavar="TEMPLATE",
        help="output of rows that give none (default: {reference}_{driving}.mp4)",
    )
    group.add_argument(
        "--keep-going", action="store_true", help="record rows that cannot be used, do the others"
    )
    group.add_argument(
        "--retries", type=int, default=2, metavar="N", help="more attempts where it may help"
    )
    group.add_argument(
        "--time-limit", type=float, metavar="SECONDS", help="end a job that takes longer"
    )
    group.add_argument(
        "--log-file",
        type=Path,
        metavar="FILE",
        help="add a line on each event to this file, with its time",
    )
    group.add_argument(
        "--metrics-file",
        type=Path,
        metavar="FILE",
        help="keep the batch's counts in this file, as OpenMetrics text",
    )
    group.add_argument(
        "--traces",
        metavar="URL",
        help="send traces of jobs and stages to this OpenTelemetry collector (OTLP over HTTP)",
    )
    group.add_argument(
        "--staging", type=Path, metavar="DIR", help="local folder for the files of URLs"
    )
    group.add_argument(
        "--staging-limit",
        type=TextReader("--staging-limit", "staging_limit", parse_bytes),
        metavar="SIZE",
        help="what the inputs of one job may take there, such as 20GiB",
    )
    group.add_argument(
        "--evaluate",
        nargs="?",
        const="clean",
        metavar="PROTOCOL",
        help="then score the clips (default: clean), into their records and the report",
    )
    group.add_argument(
        "--no-report", dest="report", action="store_false", help="no report.html and report.json"
    )
    add_options(command, AnimationRequest, "settings for all rows", skip=_OWN)
    add_options(command, SamplingOptions, "sampling, for all rows")
    add_options(command, RuntimeOptions, "where and how it runs, for all rows")
    add_config(command)
    add_help_all(command)
    return command


def _settings(arguments: argparse.Namespace) -> dict[str, object]:
    """Settings that the command line gives."""
    settings = typed_settings(AnimationRequest, arguments, skip=_OWN)
    if arguments.executor == "ray":
        settings.pop("ray_address", None)  # where the jobs go, not a clip's windows
    return settings


def make(manifest: Manifest, arguments: argparse.Namespace, progress: Progress) -> int:
    """Do the jobs; write the report whatever happens. Returns the exit code."""
    from animate.batch.executors import make_executor
    from animate.batch.runner import run_batch

    address: Any = None
    if arguments.executor == "ray":
        configured = read_config(AnimationRequest, arguments.config).get("ray_address")
        address = getattr(arguments, "ray_address", configured)
    records = run_batch(
        manifest,
        executor=make_executor(
            arguments.executor, arguments.jobs, time_limit=arguments.time_limit, address=address
        ),
        overwrite=arguments.overwrite,
        retries=arguments.retries,
        pictures=arguments.report,
        progress=progress,
        log_file=arguments.log_file,
        metrics_file=arguments.metrics_file,
        traces=arguments.traces,
    )
    counts: Counter[str] = Counter()
    try:
        _count(records, counts)
        if arguments.evaluate is not None:
            score(manifest, arguments.evaluate, progress)
    finally:
        where = put_report(manifest) if arguments.report and counts else None
    _conclude(counts, where, progress)
    if counts["failed"] and arguments.quiet:  # which is silent but for errors
        see = f"; see {where}" if where else ""
        print(f"cnx: {counts['failed']} of {counts.total()} jobs failed{see}", file=sys.stderr)
    return SOME_FAILED if counts["failed"] else 0


def put_report(manifest: Manifest) -> Path | str:
    """Write the report, and put it beside the clips where they are in a store."""
    from animate.batch.report import FIGURES, PAGE, write_report

    page = write_report(manifest)
    if manifest.remote is None:
        return page
    return manifest.remote.put_report([page.with_name(FIGURES), page.with_name(PAGE)])


def score(manifest: Manifest, protocol: str, progress: Progress) -> None:
    """Score the clips that are there."""
    from animate.batch.scores import score_clips

    count = score_clips(manifest.jobs, protocol, progress)
    progress.note(f"{count} clips scored by the protocol {protocol}")


def _count(records: Iterator[JobRecord], counts: Counter[str]) -> None:
    for record in records:
        counts[record.status] += 1


def _conclude(counts: Counter[str], report: Path | str | None, progress: Progress) -> None:
    if isinstance(progress, JsonLines):
        named = {name: counts[name] for name in ("done", "kept", "failed")}
        progress.event("batch", **named, report=str(report) if report else None)
        return
    parts = [f"{counts['done']} done"]
    parts += [f"{counts['kept']} were done before"] if counts["kept"] else []
    parts += [f"{counts['failed']} failed"] if counts["failed"] else []
    progress.note(", ".join(parts) + (f"; see {report}" if report else ""))


def show_plan(manifest: Manifest, arguments: argparse.Namespace, progress: Progress) -> int:
    """Print the jobs that would be done and what they take. Returns the exit code that the run
    would have, so far as it can be known."""
    from animate.batch.forecast import PlannedMemory, forecast, lines

    forecasts, pace = forecast(
        manifest.jobs, overwrite=arguments.overwrite, memory_of=PlannedMemory()
    )
    if isinstance(progress, JsonLines):
        for each in forecasts:
            progress.event(
                "plan",
                number=each.job.number,
                label=each.job.label,
                output=str(each.job.request.output) if each.job.request else None,
                wanted=each.due,
                why=each.why,
                problem=each.problem,
                model=each.model,
                frames=each.frames,
                seconds=each.seconds,
                memory=each.memory,
            )
        progress.event("basis", time=pace.basis())
    else:
        for line in lines(forecasts, pace, arguments.jobs):
            print(line)
    return SOME_FAILED if any(each.problem for each in forecasts) else 0
