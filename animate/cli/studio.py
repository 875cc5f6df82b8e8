"""`cnx studio`: the whole way in a browser."""

from __future__ import annotations

from pathlib import Path

from animate.cli.arguments import Parser, TextReader, make_parser, parse, progress_of
from animate.cli.signals import Terminated
from animate.errors import RequestError
from animate.files import real_path
from animate.progress import JsonLines
from animate.request.values import parse_bytes


def parser() -> Parser:
    """The arguments of the command."""
    command = make_parser(
        "studio",
        "Photo, motion, corrections, clips and comparison in a browser of this machine.\n"
        "What it makes lies in FOLDER, as the other commands make it; it is reached from this\n"
        "machine alone, by the address that it prints. Close it with Ctrl-C.",
        "cnx studio shoot/",
        "cnx studio [FOLDER] [options]",
    )
    command.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=Path(),
        metavar="FOLDER",
        help="project (default: .)",
    )
    command.add_argument(
        "--port",
        type=int,
        default=8484,
        metavar="N",
        help="port; 0 for any free one (default: 8484)",
    )
    command.add_argument(
        "--max-upload",
        type=TextReader("--max-upload", "max_upload", parse_bytes),
        default=4 << 30,
        metavar="SIZE",
        help="largest file that a browser may send (default: 4GiB)",
    )
    command.add_argument("--open", action="store_true", help="open it in the usual browser")
    return command


def main(argv: list[str]) -> int:
    """Serve until interrupted; returns the exit code."""
    arguments = parse(parser(), argv)
    if not 0 <= arguments.port < 65536:
        raise RequestError(f"--port {arguments.port} is out of range: 0 to 65535")
    from animate.studio.server import serve

    progress = progress_of(arguments)

    def announce(address: str) -> None:
        if isinstance(progress, JsonLines):
            progress.event("studio", address=address, folder=str(real_path(arguments.folder)))
        else:
            print(f"cnx studio, {real_path(arguments.folder)}: {address}", flush=True)
        if arguments.open:
            import webbrowser

            webbrowser.open(address)

    try:
        serve(
            arguments.folder,
            port=arguments.port,
            most_upload=arguments.max_upload,
            announce=announce,
        )
    except Terminated:
        raise
    except KeyboardInterrupt:
        progress.note("closed; clips that wait go on when it is started again")
    return 0
