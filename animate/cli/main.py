"""`cnx`: finds the subcommand, runs it, and turns errors into one line and an exit code.

Exit codes: 0 done, 1 a fault of the program, 2 the user's mistake, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import animate
from animate.errors import user_mistakes

COMMANDS = {
    "run": "animate the person in an image with the motion of a video",
    "pose": "extract, look at, fit and convert poses",
    "models": "list, fetch and verify model variants",
    "plan": "show what fits in an amount of memory",
    "train": "train a control network or a whole small model",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `cnx` with `argv` (the process's own arguments by default); returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        print(f"cnx {animate.__version__}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        from animate.options import nearest

        return _complain(f"unknown command {name!r}{nearest(name, list(COMMANDS))} See cnx --help")
    return _run(name, rest)


def _run(name: str, arguments: list[str]) -> int:
    debug = "--debug" in arguments
    if not debug:
        _hush_libraries()
    try:
        return int(import_module(f"animate.cli.{name}").main(arguments) or 0)
    except SystemExit as stop:  # argparse has printed its message
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        return _complain("interrupted; nothing half-written was left behind", 130)
    except user_mistakes() as mistake:
        if debug:
            raise
        return _complain(str(mistake))
    except Exception as fault:
        if debug:
            raise
        what = str(fault) or "no message"
        return _complain(
            f"a fault of the program, not yours: {type(fault).__name__}: {what}\n"
            "Run again with --debug to see where, and please report it.",
            1,
        )


def _complain(message: str, code: int = 2) -> int:
    print(f"cnx: {message}", file=sys.stderr)
    return code


def _hush_libraries() -> None:
    """Libraries' own warnings mean nothing to somebody who animates a picture."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    for library in ("diffusers", "transformers", "huggingface_hub", "libav", "torch"):
        logging.getLogger(library).setLevel(logging.ERROR)


def _help() -> str:
    lines = [f"  {name:<8} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        (
            "usage: cnx COMMAND [options]",
            "",
            "The person in a still image moves as the person in a driving video does.",
            "",
            "commands:",
            *lines,
            "",
            "cnx COMMAND --help explains each. The shortest way to a clip:",
            "  cnx run --reference me.png --driving dance.mp4 --output clip.mp4",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
