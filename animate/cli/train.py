"""`cnx train`: run a training recipe to its end, and export what it made as a model folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from animate.cli.arguments import make_parser, parse, shown


def main(argv: list[str]) -> int:
    """Parse and train; returns the exit code."""
    parser = make_parser(
        "train",
        "Train a small model from a recipe. Interrupted at any moment, the same command goes on\n"
        "from the last checkpoint.",
        "cnx train configs/train/tiny.yaml --export my-model",
    )
    parser.add_argument("config", type=Path, metavar="CONFIG.yaml", help="the recipe")
    parser.add_argument("--folder", type=Path, help="checkpoints and data, not the recipe's")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="then write a model folder")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing FOLDER")
    arguments = parse(parser, argv)
    progress = shown(arguments)

    from animate.training.config import load_config

    config = load_config(arguments.config)
    if arguments.folder is not None:
        config = replace(config, folder=arguments.folder)

    from animate.training.export import export
    from animate.training.trainer import train

    progress.note(f"training {config.name}: {train(config, progress)}")
    if arguments.export is not None:
        variant = export(config, arguments.export, overwrite=arguments.overwrite)
        progress.note(f"exported {variant.name} to {arguments.export}")
    return 0
