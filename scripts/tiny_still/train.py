"""Train the bundled text-to-image model, and a LoRA of one style, and export them.

    python -m scripts.tiny_still.train                       # scripts/tiny_still/tiny-still.yaml
    python -m scripts.tiny_still.train --folder RUN --export FOLDER
    python -m scripts.tiny_still.train --folder RUN --export-only

Interrupted at any moment, the same command continues from the last checkpoint with the numbers it
would have had. Without --export the model folder is RUN/model. Exit code 2 for a recipe or a
checkpoint that cannot be used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.tiny_still.recipe import RECIPE, load_recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and export; returns the exit code."""
    options = _parser().parse_args(arguments)
    from animate.errors import user_mistakes
    from animate.progress import choose_progress

    progress = choose_progress(quiet=options.quiet)
    try:
        from scripts.tiny_still.data import People
        from scripts.tiny_still.export import export
        from scripts.tiny_still.style import train_style
        from scripts.tiny_still.trainer import train

        changes = {} if options.folder is None else {"folder": options.folder}
        recipe = load_recipe(options.recipe, **changes)
        if not options.export_only:
            train(recipe, progress)
        folder = options.export or recipe.folder / "model"
        export(recipe, folder, overwrite=options.overwrite or options.export is None)
        progress.note(f"exported {folder}; use it with: cnx still --model {folder}")
        style = recipe.folder / f"{recipe.style.name}.safetensors"
        if not options.export_only:
            train_style(recipe, People(recipe, progress), style, progress)
            progress.note(f"a LoRA: {style}")
    except user_mistakes() as reason:
        print(reason, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path, nargs="?", default=RECIPE, metavar="RECIPE.yaml")
    parser.add_argument("--folder", type=Path, help="the run's folder, not the recipe's")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="model folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing --export")
    parser.add_argument(
        "--export-only", action="store_true", help="write what the last checkpoint has learned"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but mistakes")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
