"""`cnx resume`: go on with a run that was stopped or killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager, suppress
from pathlib import Path

from animate.cli.arguments import Parser, make_parser, parse, progress_of
from animate.cli.run import make_clip


def parser() -> Parser:
    """The arguments of the command."""
    command = make_parser(
        "resume",
        "Go on with a run that was stopped or killed: the frames are those of a run that was not.\n"
        "The same `cnx run` once more does it as well.",
        "cnx resume .clip.mp4.work",
        "cnx resume FOLDER [options]",
    )
    command.add_argument(
        "folder", type=Path, metavar="FOLDER", help="work folder, or the clip that it is for"
    )
    return command


def main(argv: list[str]) -> int:
    """Parse, go on, report. Returns the exit code; errors pass through."""
    arguments = parse(parser(), argv)
    progress = progress_of(arguments)

    from animate.clip.work import find_request

    request, given_in = find_request(arguments.folder)
    with _in_folder(given_in):
        return make_clip(request, progress)


@contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    """Within, paths are relative to a folder, where it is still there and can be gone to."""
    with ExitStack() as stack:
        with suppress(OSError, ValueError):
            stack.enter_context(chdir(folder))
        yield
