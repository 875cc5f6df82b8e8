"""Run benchmarks by name: a table on the terminal and, if wanted, JSON.

    python scripts/benchmark.py --list
    python scripts/benchmark.py denoising_step vae_memory --json figures.json

A benchmark is a file scripts/benchmarks/NAME.py with `run() -> list[Row]`; its first docstring
line is what --list prints. Exit code 2 for an unknown name, 1 if a benchmark failed.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import gc
import importlib
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "scripts" / "benchmarks"
# As the command does, before torch is imported: threads that wait do not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if str(ROOT) not in sys.path:  # run as a file, python puts scripts/ there and not its parent
    sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from scripts.benchmarks.rows import Row


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """Conditions that figures depend on besides the code."""

    python: str
    torch: str
    machine: str
    cores: int | None
    threads: int
    device: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """Outcome of one benchmark."""

    seconds: float = 0.0
    rows: tuple[Row, ...] = ()
    error: str = ""
    """Why there are no rows; empty where there are."""

    def as_json(self) -> dict[str, object]:
        """The error alone, or time and rows."""
        if self.error:
            return {"error": self.error}
        rows = [dataclasses.asdict(row) for row in self.rows]
        return {"seconds": round(self.seconds, 3), "rows": rows}


def available() -> dict[str, str]:
    """Name and first docstring line of every benchmark, without importing any."""
    summaries = {}
    for path in sorted(FOLDER.glob("*.py")):
        if path.stem != "rows" and not path.stem.startswith("_"):
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            summaries[path.stem] = text.partition("\n")[0]
    return summaries


def machine() -> Machine:
    """The conditions of this process."""
    import torch

    return Machine(
        python=platform.python_version(),
        torch=torch.__version__,
        machine=platform.machine(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    )


def show(name: str, rows: Sequence[Row]) -> None:
    """Print one benchmark's rows as a table of aligned columns."""
    table = [("", "value", "baseline", "ratio", "note")]
    for row in rows:
        baseline = "" if row.baseline is None else f"{row.baseline:.4g} {row.unit}".rstrip()
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
        value = f"{row.value:.4g} {row.unit}".rstrip()
        table.append((row.name, value, baseline, ratio, row.note))
    widths = [max(len(line[column]) for line in table) for column in range(4)]
    print(f"\n{name}")
    for line in table:
        cells = [line[0].ljust(widths[0])]
        cells += [line[column].rjust(widths[column]) for column in (1, 2, 3)]
        print("  " + "  ".join([*cells, line[4]]).rstrip())
    sys.stdout.flush()


def write_json(path: Path, outcomes: Mapping[str, Outcome]) -> None:
    """Write beside the path, then rename to it."""
    benchmarks = {name: outcome.as_json() for name, outcome in outcomes.items()}
    values = {"machine": dataclasses.asdict(machine()), "benchmarks": benchmarks}
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def run_all(names: Sequence[str], load: Callable[[str], ModuleType]) -> dict[str, Outcome]:
    """Run benchmarks one after another; one that fails does not stop the others."""
    outcomes: dict[str, Outcome] = {}
    for name in names:
        start = time.perf_counter()
        try:
            rows = load(name).run()
        except Exception as error:
            traceback.print_exc()
            outcomes[name] = Outcome(error=f"{type(error).__name__}: {error}")
            continue
        show(name, rows)
        outcomes[name] = Outcome(seconds=time.perf_counter() - start, rows=tuple(rows))
        gc.collect()  # a full-size network must not stay behind while the next one is built
    return outcomes


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Run benchmarks: a table, and JSON if wanted.",
        epilog="Ratios are against a baseline taken in the same run, in turn with the figure.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--list", action="store_true", help="print the benchmarks and stop")
    options = parser.parse_args(arguments)
    known = available()
    if options.list or not options.names:
        for name, text in known.items():
            print(f"{name:20} {text}")
        return 0
    unknown = [name for name in options.names if name not in known]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    outcomes = run_all(
        options.names, lambda name: importlib.import_module(f"scripts.benchmarks.{name}")
    )
    if options.json is not None:
        write_json(options.json, outcomes)
    return 1 if any(outcome.error for outcome in outcomes.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
