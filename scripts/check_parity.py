"""Hold this installation's numbers against vectors of the published code.

    python scripts/check_parity.py FILE.safetensors...

prints the largest absolute difference of every tensor that it checks, and why it could not check
another. Exit status: 0 all within tolerance, 1 not, 2 a file that is no vectors file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the files named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="+", metavar="FILE.safetensors", help="vectors file")
    options = parser.parse_args(arguments)

    from animate.errors import user_mistakes
    from scripts.parity.report import check_file

    passed = True
    for path in options.files:
        try:
            report = check_file(path)
        except user_mistakes() as reason:
            print(f"error: {reason}", file=sys.stderr)
            return 2
        print("\n".join(report.lines()), flush=True)
        passed = passed and report.passed
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
