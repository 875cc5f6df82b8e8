"""`cnx plan`: what fits in an amount of memory, and how."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import TYPE_CHECKING

from animate.cli.arguments import Parser, add_option, make_parser, parse, progress_of
from animate.errors import RequestError
from animate.progress import JsonLines
from animate.request.request import AnimationRequest
from animate.request.schema import plain, settings_of
from animate.request.values import Size

if TYPE_CHECKING:
    from animate.generate.settings import ClipSettings
    from temporal.memory_plan import MemoryPlan

_SETTINGS = (
    "model", "size", "memory", "window", "guidance", "decode_chunk", "precision", "offload",
)  # fmt: skip
"""Settings of a clip that decide its memory."""


def parser() -> Parser:
    """The arguments of the command."""
    command = make_parser(
        "plan",
        "How a clip would be made within an amount of memory, with the predicted peak by stage.\n"
        "`cnx run --memory` does what this shows. Weights need not be here.",
        "cnx plan --model svd-v2 --size 576x1024 --window 24 --memory 8GiB",
    )
    settings = settings_of(AnimationRequest)
    for name in _SETTINGS:
        add_option(command, settings[name])
    command.add_argument(
        "--frames", type=int, default=240, metavar="N", help="frames of the clip (default: 240)"
    )
    command.add_argument(
        "--device", default="cuda", choices=("cuda", "cpu"), help="kind of device (default: cuda)"
    )
    return command


def main(argv: list[str]) -> int:
    """Parse, plan, print; returns the exit code. Needs neither weights nor the device."""
    arguments = parse(parser(), argv)
    if arguments.frames < 1:
        raise RequestError(f"--frames {arguments.frames} is out of range: at least 1")

    import torch

    from animate.device import choose_device
    from animate.generate.memory import plan_clip_memory
    from animate.generate.settings import settle, unusual_size
    from animate.models.variants import resolve

    values = {name: value for name, value in vars(arguments).items() if name in _SETTINGS}
    request = AnimationRequest.from_dict(
        {"reference": "-", "driving": "-", "output": "-", **values}
    )
    variant = resolve(request.model).variant
    settings = settle(request, variant, Size(*variant.sizes[0]))
    device = torch.device(arguments.device)
    if request.runtime.memory is None:
        choose_device(arguments.device)  # what is free is asked of the device itself
    plan = plan_clip_memory(
        variant, settings, request.runtime, frames=arguments.frames, device=device
    )
    if caution := unusual_size(settings, variant):
        progress_of(arguments).warn(caution)
    _show(plan, variant.name, settings, arguments)
    return 0


def _show(
    plan: MemoryPlan, model: str, settings: ClipSettings, arguments: argparse.Namespace
) -> None:
    """One object for programs, lines for people, nothing where only errors are wanted."""
    progress = progress_of(arguments)
    if isinstance(progress, JsonLines):
        values = {f.name: getattr(plan, f.name) for f in fields(plan)}
        for name in ("request", "rung"):
            del values[name]
        clip = {"model": model, "size": str(settings.size), "window": settings.window}
        progress.event("plan", **clip, **plain(values))
        return
    progress.note(f"{model}, {settings.size}, windows of {settings.window} frames")
    for line in [] if arguments.quiet else plan.lines():
        print(line)
