"""Train a recipe and export its model: `python scripts/train.py configs/train/tiny.yaml`.

A run that was stopped continues from its last checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from animate.errors import AnimateError, UserError
from animate.progress import choose_progress
from animate.training.config import load_config
from animate.training.export import export
from animate.training.trainer import train


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="training recipe (YAML)")
    parser.add_argument("--folder", type=Path, help="where the run is kept (default: the recipe's)")
    parser.add_argument("--export", type=Path, help="model folder to write when it is done")
    parser.add_argument("--export-only", action="store_true", help="write it without training on")
    options = parser.parse_args()
    try:
        changes = {"folder": options.folder} if options.folder else {}
        config = load_config(options.config, **changes)
        if not options.export_only:
            train(config, choose_progress())
        if options.export is not None:
            export(config, options.export, overwrite=True)
    except AnimateError as reason:
        print(f"error: {reason}", file=sys.stderr)
        return 2 if isinstance(reason, UserError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
