"""Measure the paper's tables and figures and write docs/evidence.md with its plots and figures.

    python scripts/evidence.py                     # everything
    python scripts/evidence.py --only counts,times
    python scripts/evidence.py --quick             # toy sizes, to out/evidence: tries the script

Parts: counts (parameters), arithmetic and times (of a step at full size), stills (ways to control
a still), convergence (training runs), formulas (of cross normalisation). A part that is not asked
for keeps its figures from the last time. Timed models and training runs are kept in --folder one by
one, so what was stopped goes on where it was. Full size needs 10 GiB of memory for the times, and
of one quiet core about ten minutes for them and about four for each of the 39 training runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, python puts scripts/ there and not its parent
    sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from scripts.paper.figures import Convergence, Part

PARTS = ("counts", "arithmetic", "times", "stills", "convergence", "formulas")
FIGURES, PAGE = "evidence.json", "evidence.md"


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


def _runner(options: argparse.Namespace) -> Callable[[Convergence | None], Convergence]:
    """The function that does or collects the training runs, beside those of the last time."""
    from scripts.paper import convergence
    from scripts.paper.laboratory import QUICK, Setting

    setting, train = QUICK if options.quick else Setting(), not options.no_train
    return lambda former: convergence.measure(
        setting, options.folder, range(options.seeds), train=train, former=former, say=_say
    )


def run(
    only: Sequence[str],
    quick: bool,
    output: Path,
    folder: Path,
    training: Callable[[Convergence | None], Convergence],
) -> Path:
    """Measure parts, add them to the figures of the last time, draw and write; the page's path.

    Raises `UserError` for figures that cannot be read and where matplotlib is missing.
    """
    from animate.files import write_text
    from scripts.paper.figures import read_figures, this_machine
    from scripts.paper.page import render
    from scripts.paper.plots import draw_curves, draw_times

    figures = read_figures(output / FIGURES, quick)
    output.mkdir(parents=True, exist_ok=True)
    former = figures.convergence
    for name, measure in _measures(quick, folder, lambda: training(former)).items():
        if name in only:
            changes: Any = {name: replace(measure(), made=this_machine())}
            figures = replace(figures, **changes)
            figures.write(output / FIGURES)
    pictures = []
    if figures.convergence is not None:
        pictures += draw_curves(figures.convergence, output)
    if figures.times is not None:
        pictures.append(draw_times(figures.times, output))
    write_text(output / PAGE, render(figures, pictures))
    return output / PAGE


def _measures(
    quick: bool, folder: Path, training: Callable[[], Convergence]
) -> dict[str, Callable[[], Part]]:
    from scripts.benchmarks import control_overhead
    from scripts.paper import counts, formulas, step_times, steps, still_methods

    return {
        "counts": counts.measure,
        "arithmetic": lambda: steps.measure_arithmetic(toy=quick),
        "times": lambda: replace(
            step_times.measure(folder, toy=quick, say=_say),
            overhead=tuple(control_overhead.run(toy=quick)),
        ),
        "stills": lambda: still_methods.measure(toy=quick),
        "convergence": training,
        "formulas": lambda: formulas.measure(
            frames=1 if quick else 4, characters=1 if quick else 4
        ),
    }


def _say(line: str) -> None:
    print(line, flush=True)  # hours may pass between two, and somebody may be following a file


if __name__ == "__main__":
    raise SystemExit(main())
