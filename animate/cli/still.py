"""`cnx still`: pictures from a prompt, under control."""

from __future__ import annotations

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
from animate.request.still import StillRequest


def parser() -> Parser:
    """The arguments of the command."""
    command = make_parser(
        "still",
        "Make pictures from a prompt by Stable Diffusion, controlled by ControlNeXt.",
        "cnx still --base sd15-folder --controlnext controlnet.safetensors --control skeleton.png "
        "--prompt 'a dancer on a beach' --output dancer.png",
        "cnx still --base FOLDER|FILE --prompt TEXT --output PICTURE [options]",
    )
    command.add_argument("--list", action="store_true", help="list the designs and stop")
    add_options(command, StillRequest, "the picture")
    add_config(command)
    add_help_all(command)
    return command


def main(argv: list[str]) -> int:
    """Parse, make the pictures, report. Returns the exit code; errors pass through."""
    if "--list" in argv:
        return _list(argv)
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
        )
        return 0
    earlier = f", {result.kept} of them kept from before" if result.kept else ""
    progress.note(f"{result.outputs[0]}: {len(result.outputs)} pictures{earlier}")
    return 0


def _list(argv: list[str]) -> int:
    from animate.models.stills import load_still_design, still_design_names

    for name in still_design_names():
        print(f"{name:<26} {load_still_design(name).summary}")
    return 0
