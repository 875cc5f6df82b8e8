"""The command that trains a recipe and exports what it made."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from animate.errors import user_mistakes
from animate.progress import Progress, choose_progress


class Recipe(Protocol):
    """A recipe, as the command sees it."""

    @property
    def folder(self) -> Path: ...


R = TypeVar("R", bound=Recipe)
Read = TypeVar("Read", bound=Recipe, contravariant=True)


class Export(Protocol[Read]):
    """Writes the model folder of a run."""

    def __call__(self, recipe: Read, folder: Path, /, *, overwrite: bool) -> object: ...


@dataclass(frozen=True, kw_only=True)
class Making(Generic[R]):
    """One model's functions."""

    read: Callable[..., R]
    """Takes the recipe's path and the fields that are changed."""
    train: Callable[[R, Progress], object]
    export: Export[R]
    use: str
    """Beginning of the command that takes the model folder."""
    finish: Callable[[R, Progress], object] | None = None
    """Makes something more of the run; None: nothing."""


def parser_of(description: str | None, recipe: Path) -> argparse.ArgumentParser:
    """The options that all have; `recipe` is the one that is taken where none is named."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path, nargs="?", default=recipe, metavar="RECIPE.yaml")
    parser.add_argument("--folder", type=Path, help="the run's folder, not the recipe's")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="model folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing --export")
    parser.add_argument(
        "--export-only", action="store_true", help="write what the last checkpoint has learned"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but mistakes")
    return parser


def run(
    parser: argparse.ArgumentParser,
    open_making: Callable[[], Making[R]],
    arguments: Sequence[str] | None = None,
    changing: Sequence[str] = ("folder",),
) -> int:
    """Train and export; returns the exit code, 2 for a recipe or checkpoint that cannot be used.

    open_making: imports what takes seconds, after the options are read
    changing: options that are fields of the recipe
    """
    options = parser.parse_args(arguments)
    progress = choose_progress(quiet=options.quiet)
    try:
        making = open_making()
        changes = {name: getattr(options, name) for name in changing}
        recipe = making.read(
            options.recipe, **{name: value for name, value in changes.items() if value is not None}
        )
        if not options.export_only:
            making.train(recipe, progress)
        _export(making, recipe, options, progress)
    except user_mistakes() as reason:
        print(reason, file=sys.stderr)
        return 2
    return 0


def _export(making: Making[R], recipe: R, options: argparse.Namespace, progress: Progress) -> None:
    from accelerate import PartialState

    if not PartialState().is_main_process:
        return
    folder = options.export or recipe.folder / "model"
    making.export(recipe, folder, overwrite=options.overwrite or options.export is None)
    progress.note(f"exported {folder}; use it with: {making.use} --model {folder}")
    if making.finish is not None and not options.export_only:
        making.finish(recipe, progress)
