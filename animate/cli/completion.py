"""`cnx completion`: a script by which a shell completes commands, options and their words."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from animate.cli.arguments import Parser, TextReader, add_display, make_parser, parse
from animate.errors import ExecutorError
from animate.request.presets import preset_names

SHELLS = ("bash", "zsh", "tcsh")


def parser() -> Parser:
    """The arguments of the command."""
    command = make_parser(
        "completion",
        "Print a script by which a shell completes commands, options and their words.",
        'eval "$(cnx completion bash)"    # in ~/.bashrc',
        "cnx completion bash|zsh|tcsh",
    )
    command.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or tcsh")
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
    setting = action.type.setting if isinstance(action.type, TextReader) else None
    if action.dest == "config":
        action.choices = preset_names()
    elif setting is not None and setting.choices:
        action.choices = setting.choices
    elif action.type is Path or (setting is not None and setting.holds_paths):
        action.complete = files
