"""`cnx run`: one image, one driving video, one clip."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

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
from animate.errors import RequestError
from animate.progress import JsonLines, Progress
from animate.request.request import (
    AnimationRequest,
    AnimationResult,
    RuntimeOptions,
    SamplingOptions,
)

if TYPE_CHECKING:
    from animate.generate.preview import OnPreview, Preview


def parser() -> Parser:
    """The arguments of the command."""
    command = make_parser(
        "run",
        "The person in an image moves as the person in a video does.",
        "cnx run --reference me.png --driving dance.mp4 --output clip.mp4",
        "cnx run --reference IMAGE --driving VIDEO --output CLIP [options]",
    )
    add_options(command, AnimationRequest, "the clip")
    add_options(command, SamplingOptions, "sampling (what is not given, the model decides)")
    add_options(command, RuntimeOptions, "where and how it runs")
    text = "stop when --restyle has made the reference anew: CLIP-reference.png"
    action = command.add_argument("--restyle-only", action="store_true", help=argparse.SUPPRESS)
    command.unusual.append((action, text))
    add_config(command)
    add_help_all(command)
    return command


def main(argv: list[str]) -> int:
    """Parse, animate, report. Returns the exit code; errors pass through."""
    arguments = parse(parser(), argv)
    request = read_options(AnimationRequest, arguments)
    if arguments.restyle_only:
        return make_reference(request, progress_of(arguments))
    return make_clip(request, progress_of(arguments))


def make_reference(request: AnimationRequest, progress: Progress) -> int:
    """Make a request's reference anew and report it; returns the exit code."""
    from animate.clip.restyle import restyle_reference

    result = restyle_reference(request, progress)
    if isinstance(progress, JsonLines):
        progress.event("done", output=str(result.outputs[0]), sidecar=str(result.record))
    return 0


def make_clip(request: AnimationRequest, progress: Progress) -> int:
    """Animate one request and report it; returns the exit code."""
    from animate.animator import Animator
    from animate.generate.workers.ranks import joined, started_by_torchrun

    if not started_by_torchrun():
        animator = Animator.for_request(request, progress=progress)
        on_preview = preview_events(request, progress)
        report(animator(request, progress=progress, on_preview=on_preview), progress)
        animator.close()
        return 0
    if request.runtime.workers is not None:
        raise RequestError("torchrun has started the workers already; leave out --workers")
    with joined(request.runtime.device) as ranks:
        if ranks.rank > 0:
            ranks.serve()
            return 0
        animator = Animator.for_request(request, progress=progress)
        animator.executor = ranks
        report(animator(request, progress=progress), progress)
    return 0


def preview_events(request: AnimationRequest, progress: Progress) -> OnPreview | None:
    """The listener that tells a program of each preview, by a `preview` event with the step and the
    file, which is whole then. None where nobody is told."""
    if request.preview is None or not isinstance(progress, JsonLines):
        return None
    file = str(request.preview)

    def tell(preview: Preview) -> None:
        progress.event("preview", step=preview.step, steps=preview.steps, file=file)

    return tell


def report(result: AnimationResult, progress: Progress) -> None:
    """Say what was made."""
    if isinstance(progress, JsonLines):
        progress.event(
            "done",
            output=str(result.output),
            sidecar=str(result.sidecar),
            frames=result.frames,
            fps=str(result.fps),
            size=str(result.size),
            model=result.model,
            seconds=round(sum(result.seconds.values()), 3),
            warnings=list(result.warnings),
        )
        return
    from pose.report import counted

    progress.note(
        f"{result.output}: {counted(result.frames, 'frame')} of {result.size} "
        f"at {float(result.fps):g} fps, "
        f"{float(result.duration):.2f} s, made by {result.model} "
        f"in {sum(result.seconds.values()):.1f} s"
    )
