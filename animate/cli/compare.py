"""`cnx compare`: the same clip by several models or settings, side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from animate.batch.axes import PROTOCOL, Axis
from animate.cli.arguments import (
    Parser,
    TextReader,
    add_config,
    add_help_all,
    add_options,
    make_parser,
    parse,
    progress_of,
    read_config,
    typed_settings,
)
from animate.progress import JsonLines, Progress
from animate.request.request import AnimationRequest, RuntimeOptions, SamplingOptions

if TYPE_CHECKING:
    from animate.batch.compare_page import Comparison

SOME_FAILED = 3
"""Exit code where some cells could not be made; the page shows which and why."""
_OWN = ("output", "overwrite", "side_by_side", "contact_sheet")


def main(argv: list[str]) -> int:
    """Parse, make every cell, write the page. Returns the exit code; errors pass through."""
    arguments = parse(parser(), argv)
    from animate.batch.compare import compare
    from animate.batch.executors import make_executor

    progress = progress_of(arguments)
    typed = typed_settings(AnimationRequest, arguments, skip=_OWN)
    configured = read_config(AnimationRequest, arguments.config)
    address = None
    if arguments.executor == "ray":
        address = typed.pop("ray_address", configured.get("ray_address"))
    comparison = compare(
        {**configured, **typed},
        arguments.output_dir,
        models=arguments.models,
        vary=arguments.vary,
        truth=arguments.truth,
        protocol=arguments.protocol if arguments.scores else None,
        executor=make_executor(arguments.executor, arguments.jobs, address=address),
        overwrite=arguments.overwrite,
        retries=arguments.retries,
        progress=progress,
    )
    report(comparison, progress)
    if comparison.failed and arguments.quiet:  # which is silent but for errors
        count = f"{len(comparison.failed)} of {len(comparison.cells)} cells failed"
        print(f"cnx: {count}; see {comparison.page}", file=sys.stderr)
    return SOME_FAILED if comparison.failed else 0


def parser() -> Parser:
    """The arguments of the command."""
    command = make_parser(
        "compare",
        "Make the same clip with several models or settings, and a page and a contact sheet on\n"
        "which they stand side by side, with time and memory, and play in step. Several --vary\n"
        "make a grid. The same command goes on where it was stopped, and makes only what is\n"
        f"missing or changed. Exit code {SOME_FAILED}: some cells failed; the page says why.",
        "cnx compare --models tiny,svd-v2 --vary sampling.seed=1,2,3 --output-dir seeds \\\n"
        "      --reference me.png --driving dance.mp4",
        "cnx compare [--models A,B] [--vary NAME=A,B]... --output-dir DIR [options]",
    )
    group = command.add_argument_group("the comparison")
    group.add_argument(
        "--models",
        type=lambda text: [name.strip() for name in text.split(",") if name.strip()],
        default=[],
        metavar="A,B,C",
        help="variants or model folders",
    )
    group.add_argument(
        "--vary",
        action="append",
        type=TextReader("--vary", "vary", Axis.parse),
        default=[],
        metavar="NAME=A,B",
        help="a setting with its values, such as sampling.seed=1,2,3 or retarget=robust,limbs; an "
        "empty value leaves it open",
    )
    group.add_argument(
        "--output-dir", type=Path, required=True, metavar="DIR", help="where clips and page go"
    )
    group.add_argument(
        "--truth", type=Path, metavar="VIDEO|FOLDER", help="the true clip, to score against"
    )
    scoring = group.add_mutually_exclusive_group()
    scoring.add_argument(
        "--protocol",
        default=PROTOCOL,
        metavar="PROTOCOL",
        help=f"evaluation protocol of the scores (default: {PROTOCOL}; quick takes least time)",
    )
    scoring.add_argument(
        "--no-scores", dest="scores", action="store_false", help="time and memory alone"
    )
    group.add_argument("--overwrite", action="store_true", help="make every cell again")
    group.add_argument(
        "--executor", default="local", metavar="EXECUTOR", help="local (default), serial or ray"
    )
    group.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="cells at a time (default: 1, so that time and memory can be compared)",
    )
    group.add_argument(
        "--retries", type=int, default=2, metavar="N", help="more attempts where it may help"
    )
    add_options(command, AnimationRequest, "settings of all cells", skip=_OWN)
    add_options(command, SamplingOptions, "sampling, of all cells")
    add_options(command, RuntimeOptions, "where and how it runs")
    add_config(command)
    add_help_all(command)
    return command


def report(comparison: Comparison, progress: Progress) -> None:
    """Say what was made."""
    if isinstance(progress, JsonLines):
        progress.event(
            "comparison",
            cells=[cell.to_dict(comparison.axes) for cell in comparison.cells],
            page=str(comparison.page),
            contact_sheet=str(comparison.sheet),
        )
        return
    failed = f", {len(comparison.failed)} failed" if comparison.failed else ""
    made = len(comparison.cells) - len(comparison.failed)
    progress.note(f"{made} clips{failed}; see {comparison.page} and {comparison.sheet}")
