"""Parameters of configs/farm/openjd.yaml as a file, rows translated into its words.

    python scripts/farm_openjd.py jobs.jsonl --output-dir clips --rows 1-200x10 > parameters.json
    openjd run configs/farm/openjd.yaml --step Clips -p file://parameters.json

On our command line every tenth row is 1-200x10; Open Job Description writes 1-200:10. Words after
-- go to `cnx batch` of every task. Exit code 2 for a mistake.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file, python puts scripts/ there and not its parent
    sys.path.insert(0, str(ROOT))

from animate.batch.ranges import format_ranges, parse_ranges  # noqa: E402
from animate.errors import AnimateError, RequestError  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    own = given[: given.index("--")] if "--" in given else given
    parser = argparse.ArgumentParser(
        description="Parameters of the Open Job Description template, as JSON.",
        epilog="Words after -- go to cnx batch.",
    )
    parser.add_argument("manifest", type=Path, help=".jsonl, .csv or .yaml")
    parser.add_argument("--output-dir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rows", required=True, metavar="A-BxN", help="rows to make, as 1-200")
    parser.add_argument("--rows-per-task", type=int, default=1, metavar="N")
    options = parser.parse_args(own)
    try:
        if not options.manifest.is_file():
            raise RequestError(f"manifest {options.manifest} does not exist; check the path")
        rows = format_ranges(parse_ranges(options.rows)).replace("x", ":")
    except AnimateError as mistake:
        print(f"farm_openjd: {mistake}", file=sys.stderr)
        return 2
    values = {
        "Manifest": str(options.manifest.resolve()),
        "OutputDir": str(options.output_dir.resolve()),
        "Rows": rows,
        "RowsPerTask": options.rows_per_task,
        "Config": shlex.join(given[len(own) + 1 :]),
    }
    print(json.dumps(values, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
