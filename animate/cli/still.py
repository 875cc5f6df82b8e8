"""`cnx still`: pictures from a prompt, under control."""

from __future__ import annotations

import argparse

from animate.cli.arguments import (
    Parser,
    add_config,
    add_help_all,
    add_options,
    make_parser,
    parse,
    progress_of,
    read_options,
)
from animate.progress import JsonLines
from animate.request.schema import settings_of
from animate.request.still import StillRequest


def parser() -> Parser:
    """The arguments of the command."""
    command = make_parser(
        "still",
        "Make pictures from a prompt by Stable Diffusion, controlled by ControlNeXt.",
        "cnx still --model controlnext-sd15 --control skeleton.png --prompt 'a dancer on a beach' "
        "--output dancer.png",
        "cnx still --model NAME --prompt TEXT --control IMAGE --output PICTURE [options]",
    )
    command.add_argument("--list", action="store_true", help="list the designs and stop")
    add_options(command, StillRequest, "the picture", skip=("method",))
    _add_method(command)
    add_config(command, presets=False)
    add_help_all(command)
    return command


def _add_method(command: Parser) -> None:
    """Add `--with`, a word that no field can be named."""
    setting = settings_of(StillRequest)["method"]
    command.add_argument(
        "--with",
        dest=setting.name,
        choices=setting.choices,
        default=argparse.SUPPRESS,
        help="kind of control: ours (default), or what it is compared with, by diffusers' classes",
    )


def main(argv: list[str]) -> int:
    """Parse, make the pictures, report. Returns the exit code; errors pass through."""
    if "--list" in argv:
        return _list()
    arguments = parse(parser(), argv)
    progress = progress_of(arguments)
    request = read_options(StillRequest, arguments)

    from animate.stills.make import make_stills

    result = make_stills(request, progress)
    if isinstance(progress, JsonLines):
        progress.event(
            "done",
            outputs=[str(path) for path in result.outputs],
            record=str(result.record),
            kept=result.kept,
            model=result.model,
            size=str(result.size),
            seconds=result.seconds,
            warnings=list(result.warnings),
        )
        return 0
    earlier = f", {result.kept} of them kept from before" if result.kept else ""
    count = len(result.outputs)
    summary = f" of {result.size}, made by {result.model} in {result.seconds:.1f} s"
    progress.note(
        f"{result.outputs[0]}: {count} picture{'s' if count > 1 else ''}"
        f"{summary if result.model else ''}{earlier}"
    )
    return 0


def _list() -> int:
    """Print every model for stills: what it is, its checkpoints, and whether its files are here."""
    from animate.models.stills import load_still_design, still_design_names

    for name in still_design_names():
        design = load_still_design(name)
        print(f"{name:<25} {design.summary}")
        sizes = ", ".join(str(size) for size in design.sizes)
        print(f"{'':<25} {sizes}; {design.state()}")
        if len(design.checkpoints) > 1:
            names = ", ".join(f"{name}:{checkpoint}" for checkpoint in design.checkpoints)
            print(f"{'':<25} checkpoints: {names}")
    return 0
