"""Train the bundled model's recipe, or another from nothing, and export what it made.

    python -m scripts.tiny.train                       # scripts/tiny/tiny.yaml
    python -m scripts.tiny.train RECIPE.yaml --export FOLDER
    python -m scripts.tiny.train RECIPE.yaml --export-only

Interrupted at any moment, the same command continues from the last checkpoint with the numbers it
would have had. Without --export the model folder is RUN/model. Exit code 2 for a recipe or a
checkpoint that cannot be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.bundled.command import Making, parser_of, run

if TYPE_CHECKING:
    from scripts.tiny.recipe import TrainingConfig

RECIPE = Path(__file__).with_name("tiny.yaml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and export; returns the exit code."""
    return run(parser_of(__doc__, RECIPE), _making, arguments)


def _making() -> Making[TrainingConfig]:
    from functools import partial

    from scripts.bundled.recipe import read_recipe
    from scripts.tiny.export import export
    from scripts.tiny.recipe import TrainingConfig
    from scripts.tiny.trainer import train

    return Making(
        read=partial(read_recipe, TrainingConfig), train=train, export=export, use="cnx run"
    )


if __name__ == "__main__":
    raise SystemExit(main())
