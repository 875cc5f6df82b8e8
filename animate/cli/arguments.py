"""Command-line arguments from the dataclasses that hold the options.

Every option's name, help text, choices and bounds come from its field; the parser adds nothing
but dashes. What was not given is absent from the result, so that a file's value can stand.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from animate.errors import RequestError
from animate.progress import KINDS, Progress, choose_progress
from animate.request.request import build
from animate.request.yaml_file import read_yaml


def make_parser(
    command: str, description: str, example: str = "", usage: str | None = None
) -> argparse.ArgumentParser:
    """A parser for `cnx COMMAND`; `parse` adds the options that every command has."""
    return argparse.ArgumentParser(
        prog=f"cnx {command}",
        usage=usage,
        description=description,
        epilog=example and f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command, with `quiet`, `progress`, `json_progress` and `debug`.

    Raises RequestError where two of them exclude each other.
    """
    add_shown(parser, default=False)
    parser.set_defaults(progress="auto")
    arguments = parser.parse_args(argv)
    chosen = {
        "--quiet": arguments.quiet,
        "--json-progress": arguments.json_progress,
        f"--progress {arguments.progress}": arguments.progress != "auto",
    }
    given = [flag for flag, is_given in chosen.items() if is_given]
    if len(given) > 1:
        raise RequestError(f"{' and '.join(given)} exclude each other; give one of them")
    return arguments


def shown(arguments: argparse.Namespace) -> Progress:
    """How the progress of a command is shown, from its arguments."""
    return choose_progress(
        quiet=arguments.quiet, as_json=arguments.json_progress, kind=arguments.progress
    )


def add_shown(parser: argparse.ArgumentParser, default: Any = argparse.SUPPRESS) -> None:
    """The options that every command has; also after an action, where the default is the
    command's own."""
    group = parser.add_argument_group("what is shown")
    group.add_argument(
        "--progress",
        choices=KINDS,
        default=argparse.SUPPRESS,
        help="how progress is told: bars or lines, JSON lines, or a farm's protocol",
    )
    for flag, text in (
        ("--quiet", "say nothing but errors"),
        ("--json-progress", "progress as JSON lines, the same as --progress json"),
        ("--debug", "show where an error came from"),
    ):
        group.add_argument(flag, action="store_true", default=default, help=text)


def add_options(
    parser: argparse.ArgumentParser,
    options: type,
    title: str,
    *,
    required: Sequence[str] = (),
    skip: Sequence[str] = (),
) -> None:
    """Add every documented field of a dataclass of options, except those in `skip`."""
    group = parser.add_argument_group(title)
    hints = get_type_hints(options)
    for item in fields(options):
        if is_dataclass(hints[item.name]) or not item.metadata or item.name in skip:
            continue
        flag = "--" + item.name.replace("_", "-")
        text = item.metadata["help"]
        if hints[item.name] is bool:
            action: Any = argparse.BooleanOptionalAction if item.default else "store_true"
            group.add_argument(flag, action=action, default=argparse.SUPPRESS, help=text)
            continue
        several = {"action": "extend"} if get_origin(hints[item.name]) is tuple else {}
        choices = [v for v in _leaves(hints[item.name]) if isinstance(v, str)]
        if item.default not in (None, (), MISSING):
            text += f" (default: {item.default})"
        group.add_argument(
            flag,
            type=_reader(item.name, hints[item.name], item.metadata["parse"]),
            choices=choices or None,
            metavar=item.metadata["metavar"]
            or (None if choices else _placeholder(hints[item.name])),
            required=item.name in required,
            default=argparse.SUPPRESS,
            help=text,
            **several,
        )


def _leaves(hint: Any) -> list[Any]:
    arguments = get_args(hint)
    return [leaf for a in arguments for leaf in _leaves(a)] if arguments else [hint]


def _placeholder(hint: Any) -> str:
    return {int: "N", float: "X"}.get(_leaves(hint)[0], "NAME")


def _reader(name: str, hint: Any, parse: Callable[[str], Any] | None) -> Callable[[str], Any]:
    kinds = [leaf for leaf in _leaves(hint) if leaf in (int, float)]

    def read(text: str) -> Any:
        try:
            return parse(text) if parse else kinds[0](text) if kinds else text
        except (RequestError, ValueError) as reason:
            shown = reason if parse else f"{text!r} is not a number"
            raise argparse.ArgumentTypeError(str(shown)) from None

    read.__name__ = name
    return read


def add_config(parser: argparse.ArgumentParser) -> None:
    """`--config FILE.yaml`, given once or several times; the command line has the last word."""
    parser.add_argument(
        "--config",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="YAML file of settings by the same names; later files and options win",
    )


def read_options(options: type, arguments: argparse.Namespace, **extra: Any) -> Any:
    """Build `options` from the files named by --config, then what the command line gave."""
    values = read_config(arguments.config)
    names = _names(options)
    values.update({k: v for k, v in vars(arguments).items() if k in names})
    return build(options, {**values, **extra})


def read_config(paths: Sequence[Path]) -> dict[str, Any]:
    """The settings of files named by --config, by their flat names; later files win."""
    values: dict[str, Any] = {}
    for path in paths:
        values.update(_flat(read_yaml(path)))
    return values


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        flat.update(_flat(value) if isinstance(value, dict) else {name: value})
    return flat


def _names(options: type) -> set[str]:
    hints = get_type_hints(options)
    own = {f.name for f in fields(options)}
    return own.union(*(_names(hints[name]) for name in own if is_dataclass(hints[name])))
