"""Measure the paper's tables and figures and write docs/evidence.md with its plots and figures.

    python scripts/evidence.py                     # everything
    python scripts/evidence.py --only counts,times
    python scripts/evidence.py --quick             # toy sizes, to out/evidence: tries the script

Parts: counts (parameters), arithmetic and times (of a step at full size), convergence (training
runs), formulas (of cross normalisation). A part that is not asked for keeps its figures from the
last time. Timed models and training runs are kept in --folder one by one, so what was stopped goes
on where it was. Full size needs 10 GiB of memory for the times, and of one quiet core about ten
minutes for them and about four for each of the 39 training runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, python puts scripts/ there and not its parent
    sys.path.insert(0, str(ROOT))

PARTS = ("counts", "arithmetic", "times", "convergence", "formulas")
FIGURES, PAGE = "evidence.json", "evidence.md"
Measure = Callable[[], dict[str, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    from animate.errors import UserError

    try:
        unknown = [name for name in options.only if name not in PARTS]
        if unknown:
            raise UserError(f"no part {', '.join(unknown)}; there are: {', '.join(PARTS)}")
        output = options.output or (ROOT / ("out/evidence" if options.quick else "docs"))
        page = run(options.only, options.quick, output, options.folder, _runner(options))
    except UserError as reason:
        print(reason, file=sys.stderr)
        return 2
    print(f"The page: {page}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = lambda text: [name.strip() for name in text.split(",")]  # noqa: E731
    parser.add_argument(
        "--only", type=names, default=list(PARTS), metavar="PART,...", help="measure these parts"
    )
    parser.add_argument("--quick", action="store_true", help="toy sizes; proves nothing")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="default docs")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "runs" / "evidence", metavar="FOLDER",
        help="where rendered clips and training runs are kept (default runs/evidence)",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the training runs")
    parser.add_argument(
        "--no-train", action="store_true", help="use the training runs that are done, start none"
    )
    return parser


def _runner(options: argparse.Namespace) -> Measure:
    """The function that does or collects the training runs."""
    from scripts.paper import convergence
    from scripts.paper.laboratory import QUICK, Setting

    setting, train = QUICK if options.quick else Setting(), not options.no_train
    seeds = range(options.seeds)
    return lambda: convergence.measure(setting, options.folder, seeds, train=train, say=_say)


def run(only: Sequence[str], quick: bool, output: Path, folder: Path, training: Measure) -> Path:
    """Measure parts, add them to the figures of the last time, draw and write; the page's path.

    Raises `UserError` for figures that cannot be read and where matplotlib is missing.
    """
    from animate.files import write_text
    from scripts.paper.page import render
    from scripts.paper.plots import draw_curves, draw_times

    figures = _former(output / FIGURES, quick)
    output.mkdir(parents=True, exist_ok=True)
    for name, measure in _measures(quick, folder, training).items():
        if name in only:
            figures[name] = {**measure(), "made": _machine()}
            write_text(output / FIGURES, json.dumps(figures, indent=1) + "\n")
    pictures = []
    if "convergence" in figures:
        pictures += draw_curves(figures["convergence"], output)
    if "times" in figures:
        pictures.append(draw_times(figures["times"], output))
    write_text(output / PAGE, render(figures, pictures))
    return output / PAGE


def _measures(quick: bool, folder: Path, training: Measure) -> dict[str, Measure]:
    from scripts.benchmarks import control_overhead
    from scripts.paper import counts, formulas, step_times, steps

    return {
        "counts": counts.measure,
        "arithmetic": lambda: steps.measure_arithmetic(toy=quick),
        "times": lambda: {
            **step_times.measure(folder, toy=quick, say=_say),
            "overhead": [asdict(row) for row in control_overhead.run(toy=quick)],
        },
        "convergence": training,
        "formulas": lambda: formulas.measure(
            frames=1 if quick else 4, characters=1 if quick else 4
        ),
    }


def _say(line: str) -> None:
    print(line, flush=True)  # hours may pass between two, and somebody may be following a file


def _former(file: Path, quick: bool) -> dict[str, Any]:
    """The figures of the last time. Raises `UserError` when the file is damaged or of the other
    kind (toy or full size)."""
    from animate.errors import UserError

    if not file.exists():
        return {"quick": quick}
    try:
        figures: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as reason:
        raise UserError(f"{file} is no JSON ({reason}); remove it to measure anew") from reason
    if figures.get("quick") != quick:
        kind = "full" if quick else "toy"
        raise UserError(f"{file} holds figures of {kind} size; choose another --output")
    return figures


def _machine() -> dict[str, Any]:
    import torch

    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


if __name__ == "__main__":
    raise SystemExit(main())
