"""`cnx train`: fine-tune a model, export it, save and apply what a fine-tuning changed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from animate.cli.arguments import Parser, make_parser, parse, progress_of
from animate.errors import RequestError
from animate.progress import Progress
from animate.request.wording import nearest

if TYPE_CHECKING:
    from animate.training.finetune_config import FineTuneConfig


def parser() -> Parser:
    """The arguments of the command."""
    command = make_parser(
        "train",
        "Fine-tune a base model on your videos, by a recipe.\n"
        "Interrupted at any moment, the same command goes on from the last checkpoint.\n"
        "Several processes: torchrun --nproc_per_node N -m animate.cli.main train CONFIG.yaml\n\n"
        "cnx train export   write what a recipe has learned by now\n"
        "cnx train delta    write what a fine-tuning changed in its base as one file\n"
        "cnx train apply    make a model of a base and such a file",
        "cnx train configs/train/my-videos.yaml --export my-model",
        "cnx train CONFIG.yaml [options]\n       cnx train export|delta|apply ...",
    )
    command.add_argument("config", type=Path, metavar="CONFIG.yaml", help="the recipe")
    command.add_argument("--folder", type=Path, help="checkpoints and data, not the recipe's")
    command.add_argument("--export", type=Path, metavar="FOLDER", help="then write a model folder")
    command.add_argument("--overwrite", action="store_true", help="replace an existing FOLDER")
    return command


def main(argv: list[str]) -> int:
    """Parse and run a recipe, or one of the actions; returns the exit code."""
    if argv and argv[0] in ACTIONS:
        action = ACTIONS[argv[0]]
        arguments = parse(action.parser(), argv[1:])
        action.run(arguments, progress_of(arguments))
        return 0
    arguments = parse(parser(), argv)
    if not arguments.config.exists() and (hint := nearest(str(arguments.config), ACTIONS)):
        raise RequestError(f"{arguments.config} is neither a recipe nor an action{hint}")
    progress = progress_of(arguments)

    from animate.training.finetune import fine_tune
    from animate.training.finetune_config import load_finetune_config

    config = load_finetune_config(arguments.config)
    if arguments.folder is not None:
        config = replace(config, folder=arguments.folder)
    folder = fine_tune(config, progress)
    from accelerate import PartialState

    if not PartialState().is_main_process:
        return 0
    progress.note(f"training {config.name}: {folder}")
    if arguments.export is not None:
        _export(config, arguments.export, progress, overwrite=arguments.overwrite)
    return 0


def export_parser() -> Parser:
    """The arguments of `cnx train export`."""
    command = make_parser(
        "train export",
        "Write the moving average of a recipe's last checkpoint as a folder:\n"
        "controlnet.safetensors and unet.safetensors, as the published files are laid out, or\n"
        "the file of adapters for --lora.",
        "cnx train export configs/train/my-videos.yaml my-model --merged",
    )
    command.add_argument("config", type=Path, metavar="CONFIG.yaml", help="the recipe")
    command.add_argument("output", type=Path, metavar="FOLDER", help="folder to write")
    command.add_argument("--folder", type=Path, help="checkpoints and data, not the recipe's")
    command.add_argument(
        "--merged", action="store_true", help="the whole UNet, not the learned parameters alone"
    )
    command.add_argument(
        "--precision",
        choices=("float16", "bfloat16", "float32"),
        default="float16",
        help="of the files (default: float16)",
    )
    command.add_argument("--overwrite", action="store_true", help="replace an existing FOLDER")
    return command


def run_export(arguments: argparse.Namespace, progress: Progress) -> None:
    """Write what a recipe has learned as a model folder or a file of adapters."""
    from animate.training.finetune_config import load_finetune_config

    config = load_finetune_config(arguments.config)
    if arguments.folder is not None:
        config = replace(config, folder=arguments.folder)
    _export(
        config,
        arguments.output,
        progress,
        overwrite=arguments.overwrite,
        merged=arguments.merged,
        precision=arguments.precision,
    )


def _export(
    config: FineTuneConfig, folder: Path, progress: Progress, *, overwrite: bool,
    merged: bool = False, precision: str = "float16",
) -> None:  # fmt: skip
    from animate.errors import RequestError
    from animate.training.finetune_export import export_fine_tuned

    if config.train == "lora" and merged:
        raise RequestError("--merged is for selective and full; adapters are used with --lora")
    export_fine_tuned(config, folder, merged=merged, precision=precision, overwrite=overwrite)
    use = f"--lora {folder}" if config.train == "lora" else f"--model {folder}"
    progress.note(f"exported {folder}; use it with: cnx run {use}")


def delta_parser() -> Parser:
    """The arguments of `cnx train delta`."""
    command = make_parser(
        "train delta",
        "Write what a fine-tuned model has that its base has not: the UNet's differences and the\n"
        "control network.",
        "cnx train delta svd-v2 my-model -o my-dance.safetensors",
    )
    command.add_argument("base", metavar="BASE", help="variant or folder")
    command.add_argument(
        "tuned", metavar="TUNED", help="variant or folder, of the same architecture"
    )
    command.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.safetensors")
    command.add_argument("--overwrite", action="store_true", help="replace an existing FILE")
    return command


def run_delta(arguments: argparse.Namespace, progress: Progress) -> None:
    """Write what a fine-tuning changed in its base as one file."""
    from animate.models.components import load_components
    from animate.models.delta import save_delta
    from animate.models.variants import load_variant

    report = save_delta(
        load_components(load_variant(arguments.base)),
        load_components(load_variant(arguments.tuned)),
        arguments.output,
        overwrite=arguments.overwrite,
    )
    progress.note(
        f"{arguments.output}: {report.changed} of the UNet's {report.tensors} tensors differ from "
        f"{report.base}"
    )


def apply_parser() -> Parser:
    """The arguments of `cnx train apply`."""
    command = make_parser(
        "train apply",
        "Make a model of a base and a file that `cnx train delta` wrote. The base need not be the\n"
        "one that the file was made against, but it must have the same architecture.",
        "cnx train apply my-dance.safetensors another-base -o my-other-model",
    )
    command.add_argument("delta", type=Path, metavar="FILE.safetensors", help="the differences")
    command.add_argument("base", metavar="BASE", help="variant or folder")
    command.add_argument(
        "--like",
        default="svd-v2",
        metavar="VARIANT",
        help="constants of a base folder without variant.yaml (default: svd-v2)",
    )
    command.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    command.add_argument("--overwrite", action="store_true", help="replace an existing FOLDER")
    return command


def run_apply(arguments: argparse.Namespace, progress: Progress) -> None:
    """Make a model folder of a base and a file of differences."""
    from animate.models.base import load_base
    from animate.models.delta import apply_delta

    base = load_base(arguments.base, like=arguments.like, control="new", seed=0)
    apply_delta(arguments.delta, base, arguments.output, overwrite=arguments.overwrite)
    progress.note(f"made {arguments.output}; use it with: cnx run --model {arguments.output}")


@dataclass(frozen=True)
class Action:
    """A word behind `cnx train`: its arguments, and what it does with them."""

    parser: Callable[[], Parser]
    run: Callable[[argparse.Namespace, Progress], None]


ACTIONS = {
    "export": Action(export_parser, run_export),
    "delta": Action(delta_parser, run_delta),
    "apply": Action(apply_parser, run_apply),
}
