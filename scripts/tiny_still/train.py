"""Train the bundled text-to-image model, and a LoRA of one style, and export them.

    python -m scripts.tiny_still.train                       # scripts/tiny_still/tiny-still.yaml
    python -m scripts.tiny_still.train --folder RUN --export FOLDER
    python -m scripts.tiny_still.train --folder RUN --export-only

Interrupted at any moment, the same command continues from the last checkpoint with the numbers it
would have had. Without --export the model folder is RUN/model. Exit code 2 for a recipe or a
checkpoint that cannot be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scripts.bundled.command import Making, parser_of, run
from scripts.tiny_still.recipe import RECIPE

if TYPE_CHECKING:
    from animate.progress import Progress
    from scripts.tiny_still.recipe import StillRecipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and export; returns the exit code."""
    return run(parser_of(__doc__, RECIPE), _making, arguments)


def _making() -> Making[StillRecipe]:
    from functools import partial

    from scripts.bundled.recipe import read_recipe
    from scripts.tiny_still.export import export
    from scripts.tiny_still.recipe import StillRecipe
    from scripts.tiny_still.trainer import train

    return Making(
        read=partial(read_recipe, StillRecipe),
        train=train,
        export=export,
        use="cnx still",
        finish=_style,
    )


def _style(recipe: StillRecipe, progress: Progress) -> None:
    """Train the LoRA of the recipe's style."""
    from scripts.tiny_still.data import People
    from scripts.tiny_still.style import train_style

    file = recipe.folder / f"{recipe.style.name}.safetensors"
    train_style(recipe, People(recipe, progress), file, progress)
    progress.note(f"a LoRA: {file}")


if __name__ == "__main__":
    raise SystemExit(main())
