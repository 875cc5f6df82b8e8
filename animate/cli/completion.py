"""`cnx completion`: a script by which a shell completes commands, options and their words."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from animate.cli.arguments import Parser, TextReader, add_display, make_parser, parse
from animate.errors import ExecutorError
from animate.request.presets import preset_names

SHELLS = ("bash", "zsh", "fish", "tcsh")


def parser() -> Parser:
    """The arguments of the command."""
    command = make_parser(
        "completion",
        "Print a script by which a shell completes commands, options and their words.",
        'eval "$(cnx completion bash)"               # in ~/.bashrc\n'
        '  eval "$(cnx completion zsh)"                # in ~/.zshrc, after compinit\n'
        "  source (cnx completion fish | psub)         # in ~/.config/fish/config.fish",
        f"cnx completion {'|'.join(SHELLS)}",
    )
    command.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    return command


def main(argv: list[str]) -> int:
    """Print the script; returns the exit code. Raises ExecutorError where the extra is missing."""
    arguments = parse(parser(), argv)
    try:
        import shtab
    except ImportError as reason:
        raise ExecutorError(
            "shell completion needs shtab; install it: pip install 'cnx-animate[completion]'"
        ) from reason
    print(shtab.complete(whole_parser(shtab.FILE), arguments.shell))
    return 0


def whole_parser(files: Any) -> Parser:
    """One parser of all commands, with every option, its words and what it completes.

    files: shtab's mark of options that name files
    """
    from animate.cli.main import COMMANDS

    root = make_parser("", "")
    root.add_argument("--version", action="store_true", help="print the version")
    commands = root.add_subparsers(dest="command")
    for name, text in COMMANDS.items():
        command: Parser = import_module(f"animate.cli.{name}").parser()
        add_display(command)
        for action, help_text in command.unusual:
            action.help = help_text
        for action in all_actions(command):
            _state_words(action, files)
        commands.add_parser(
            name, help=text, parents=[command], add_help=False, conflict_handler="resolve"
        )
    return root


def all_actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every argument of a parser and of its subcommands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from all_actions(sub)
        else:
            yield action


def _state_words(action: Any, files: Any) -> None:
    """State what an argument completes: its words, names that are known, files, or both."""
    setting = action.type.setting if isinstance(action.type, TextReader) else None
    words = tuple(action.choices or (setting.choices if setting else ()))
    words = words or _known_names(str(action.metavar))
    paths = action.type is Path or (setting is not None and setting.holds_paths)
    if paths or re.search(_PATHS, str(action.metavar)):
        action.complete = _names_or_files(words) if words else files
    elif words:
        action.choices = words


_PATHS = r"\b(FILE|FOLDER|DIR|SOURCE|MANIFEST|CONFIG|BASE|TUNED)\b"
"""Placeholders of arguments that are read as text and may be paths."""


def _known_names(metavar: str) -> tuple[str, ...]:
    """Names that a value with this placeholder may have, where the parser does not check them."""
    from animate.batch.executors import EXECUTORS
    from animate.cli.train import ACTIONS as TRAINING
    from animate.evaluation.protocols import protocol_names
    from animate.media.codecs import CODECS
    from animate.models.stills import still_design_names
    from animate.models.variants import variant_names

    known: dict[str, Callable[[], Iterable[str]]] = {
        "NAME|FILE": preset_names,
        "NAME|FOLDER": variant_names,
        "NAME|FOLDER|FILE": still_design_names,
        "VARIANT": variant_names,
        "CONFIG.yaml": lambda: TRAINING,
        "CODEC": lambda: CODECS,
        "PROTOCOL": protocol_names,
        "EXECUTOR": lambda: EXECUTORS,
        "WHO": lambda: ("main", "left", "right"),
        "edge|blur|#RRGGBB": lambda: ("edge", "blur"),
        "DEVICE": lambda: ("auto", "cpu", "cuda"),
    }
    return tuple(known[metavar]()) if metavar in known else ()


def _names_or_files(names: Sequence[str]) -> dict[str, object]:
    """An argument that completes names and paths alike, as shtab takes it for each shell."""
    words = " ".join(names)
    function = "_cnx_name_or_file_" + re.sub(r"\W", "_", words)
    return {
        "bash": function,
        "zsh": function,
        "fish": f"{words} (__fish_complete_path (commandline -ct))",
        "tcsh": "f",
        "preamble": {
            "bash": f'{function}() {{ compgen -W \'{words}\' -- "$1"; compgen -f -- "$1"; }}',
            "zsh": f"{function}() {{ _alternative 'names:name:({words})' 'files:file:_files' }}",
        },
    }
