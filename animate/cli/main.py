"""`cnx`: finds the subcommand, runs it, and turns errors into one line and an exit code.

Exit codes: 0 done, 1 a fault of the program, 2 the user's mistake, 3 some jobs of a batch failed,
129 ended by SIGHUP, 130 interrupted, 141 nothing reads the output any more, 143 ended by SIGTERM,
152 by SIGXCPU.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from itertools import pairwise

import animate

COMMANDS = {
    "run": "animate the person in an image with the motion of a video",
    "still": "make pictures from a prompt, controlled by edges, a pose or depth",
    "batch": "make the clips of a manifest, with a report",
    "compare": "make a clip with several models or settings, side by side",
    "studio": "the whole way in a browser, with an editor of poses",
    "resume": "go on with a run that was stopped or killed",
    "clean": "throw away what killed runs have left",
    "evaluate": "measure how good clips are",
    "info": "show where a clip comes from, and check its credentials",
    "pose": "extract, look at, fit and convert poses",
    "models": "list, fetch and verify model variants",
    "plan": "show what fits in an amount of memory",
    "train": "train a control network or a whole small model",
    "encoders": "list the ways to compress a clip on this machine",
    "completion": "print a script by which a shell completes commands and options",
}

_HELP, _VERSION = ("--help", "-h", "help"), "--version"
_COMPUTING = ("run", "still", "batch", "compare", "resume", "evaluate", "train")
"""Commands that load the networks' libraries."""
_LEAST_ADDRESSES = 2 << 30
"""Bytes that a process must be allowed to map: with less these libraries end it while they load."""
_LEAST_HANDLES = 48
"""Files that a process must be allowed to have open: a run has up to 20 at once, beside its
streams and those that whoever started it left open."""
_NO_MEMORY = (
    "memory ran out; close other programs, allow this one more (ulimit -v, the container's limit), "
    "or ask for less: a smaller --size or a shorter --window"
)
_LIMITED = (
    "the system gives this process no more; allow more open files (ulimit -n), threads and "
    "processes (ulimit -u) or larger files (ulimit -f), or end other programs"
)
_NOTHING_LEFT = "nothing half-written was left behind"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `cnx` with `argv` (the process's own arguments by default); returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _prepare_streams()
    if not arguments or arguments[0] in _HELP:
        print(_help())
        return 0
    if arguments[0] == _VERSION:
        print(f"cnx {animate.__version__}")
        return 0
    name, options = arguments[0], arguments[1:]
    if name not in COMMANDS:
        from animate.request.wording import nearest, quoted

        hint = nearest(name, [*COMMANDS, *_HELP, _VERSION]) or "; see cnx --help"
        return _complain(f"unknown command {quoted(name)}{hint}")

    from animate.cli.signals import raised_on_signals

    helps = {"-h", "--help", "--help-all"} & set(options)
    if not helps and not _has_current_folder():
        return _complain("the current folder has been removed; go to another one, as with cd ~")
    if name in _COMPUTING and not helps and (refusal := _too_tight_limit()):
        return _complain(refusal)
    debug = "--debug" in options
    _let_threads_sleep()
    _silence_telemetry()
    if not debug and not helps:  # which load no library
        _hush_libraries()
    with raised_on_signals(last=argv is None):
        try:
            code = int(import_module(f"animate.cli.{name}").main(options) or 0)
            sys.stdout.flush()
            return code
        except BaseException as error:
            if debug and isinstance(error, Exception):
                _print_trace(error)
            code, complaint = _verdict(error, debug)
    if complaint:
        _complain(complaint, code)
        _tell_farm(options, complaint)
    return code


def _has_current_folder() -> bool:
    """False where the folder that paths are relative to has been removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _too_tight_limit() -> str:
    """The message on a limit of this process under which nothing could be made; or none."""
    import resource

    addresses, handles = (
        sys.maxsize if limit == resource.RLIM_INFINITY else limit
        for limit, _ in map(resource.getrlimit, (resource.RLIMIT_AS, resource.RLIMIT_NOFILE))
    )
    if addresses < _LEAST_ADDRESSES:
        return (
            f"this process may map {addresses >> 20} MiB of memory, and the libraries of the "
            f"networks need {_LEAST_ADDRESSES >> 20} to be loaded; allow more, as with "
            "ulimit -v unlimited"
        )
    if handles < _LEAST_HANDLES:
        return (
            f"this process may have {handles} files open at once, and a run needs "
            f"{_LEAST_HANDLES}; allow more, as with ulimit -n 256"
        )
    return ""


def _print_trace(error: Exception) -> None:
    from traceback import print_exception

    print_exception(error)


def _verdict(error: BaseException, debug: bool) -> tuple[int, str]:
    """Exit code of a command that ended by an error, and the message to the user."""
    from animate.cli.signals import Terminated
    from animate.errors import (
        hit_limit,
        ran_out_of_memory,
        reason_of,
        user_mistakes,
        was_refused,
    )

    if isinstance(error, BrokenPipeError) and _reader_has_gone():
        return 141, ""
    if isinstance(error, SystemExit):  # argparse has printed its message
        return (error.code if isinstance(error.code, int) else 2), ""
    if isinstance(error, Terminated):
        return error.code, f"ended by {error.signal.name}; {_notes(error) or _NOTHING_LEFT}"
    if isinstance(error, KeyboardInterrupt):
        return 130, f"interrupted; {_notes(error) or _NOTHING_LEFT}"
    if not isinstance(error, Exception):
        raise error
    if isinstance(error, user_mistakes()):
        return 2, "\n".join(filter(None, (str(error), _notes(error))))
    if ran_out_of_memory(error):
        return 2, "\n".join(filter(None, (f"{_NO_MEMORY} ({_first_line(error)})", _notes(error))))
    if was_refused(error):
        name = getattr(error, "filename", None)
        file = f"{name}: " if name else ""
        words = f"the system refuses to read or write a file: {file}{reason_of(error)}"
        return 2, "\n".join(filter(None, (words, _notes(error))))
    if hit_limit(error):
        return 2, "\n".join(filter(None, (f"{_LIMITED}: {reason_of(error)}", _notes(error))))
    words = "\n".join(filter(None, (str(error) or "no message", _notes(error))))
    return 1, (
        f"a fault of the program, not yours: {type(error).__name__}: {words}\n"
        f"{'Please' if debug else 'Run again with --debug to see where, and please'} report it."
    )


def _reader_has_gone() -> bool:
    """True where what reads the output has closed it, as `head` does; what is still held of it is
    dropped."""
    from select import POLLERR, poll

    from animate.progress import give_up

    try:
        output = poll()
        output.register(sys.stdout.fileno(), 0)
        gone = any(event & POLLERR for _, event in output.poll(0))
    except (OSError, ValueError):
        return False
    if gone:
        give_up(sys.stdout)
    return gone


def _notes(error: BaseException) -> str:
    """Notes that were added to an error on its way, such as on how to go on."""
    return "\n".join(getattr(error, "__notes__", ()))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _complain(message: str, code: int = 2) -> int:
    from animate.progress import say

    say(f"cnx: {message}", sys.stderr)
    return code


def _tell_farm(arguments: list[str], complaint: str) -> None:
    """Say it in the farm's words too, where `--progress` names one that has such words."""
    farms = [value for flag, value in pairwise(arguments) if flag == "--progress"]
    farms += [a.removeprefix("--progress=") for a in arguments if a.startswith("--progress=")]
    if farms:
        from animate.progress import failure_line, say

        if line := failure_line(farms[-1], complaint):
            say(line, sys.stdout)


def _prepare_streams() -> None:
    """Let standard streams that came closed lead nowhere, and all print whatever they are given.

    The next file to be opened would get a closed stream's number, and whatever a library says would
    be written into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)
    # Names of files may have characters that the terminal, or any text, has not.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _let_threads_sleep() -> None:
    """OpenMP's threads spin while they wait for each other. Where another process wants the same
    cores that makes a small model tens of times slower; asleep they cost next to nothing. Read by
    the library when torch loads it, which is later than this."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _silence_telemetry() -> None:
    """Keep libraries from reporting their use, unless the user decided; read at their import."""
    for name in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ.setdefault(name, "1")


def _hush_libraries() -> None:
    """Libraries' own warnings mean nothing to somebody who animates a picture."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    for library in ("diffusers", "transformers", "huggingface_hub", "libav", "torch"):
        logging.getLogger(library).setLevel(logging.ERROR)


def _help() -> str:
    lines = [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        (
            "usage: cnx COMMAND [options]",
            "",
            "The person in a still image moves as the person in a driving video does.",
            "",
            "commands:",
            *lines,
            "",
            "cnx COMMAND --help explains each; cnx --version tells the version.",
            "The shortest way to a clip:",
            "  cnx run --reference me.png --driving dance.mp4 --output clip.mp4",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
