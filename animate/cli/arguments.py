"""Command-line arguments from the dataclasses that hold the options.

Every option's name, help text, choices and bounds come from its field; the parser adds nothing
but dashes. What was not given is absent from the result, so that a file's value can stand.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_origin

from animate.errors import RequestError
from animate.progress import KINDS, Progress, choose_progress
from animate.request.schema import Setting, build, flat, settings_of
from animate.request.yaml_file import read_yaml

T = TypeVar("T")


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
    for setting in settings_of(options).values():
        if not setting.group and setting.name not in skip:
            add_option(group, setting, required=setting.name in required)


def add_option(parser: Any, setting: Setting, *, required: bool = False) -> None:
    """Add one setting to a parser or a group of one."""
    text, default = setting.help, setting.default
    common = {"dest": setting.name, "default": argparse.SUPPRESS}
    if setting.hint is bool:
        action: Any = argparse.BooleanOptionalAction if default else "store_true"
        parser.add_argument(setting.flag, action=action, help=text, **common)
        return
    several = {"action": "extend"} if get_origin(setting.hint) is tuple else {}
    if default not in (None, ()):
        text += f" (default: {default})"
    parser.add_argument(
        setting.flag,
        type=_reader(setting),
        metavar=setting.metavar or _placeholder(setting),
        required=required,
        help=text,
        **common,
        **several,
    )


def _placeholder(setting: Setting) -> str:
    if setting.choices:
        return f"{{{','.join(setting.choices)}}}"
    kinds = {int: "N", float: "X", bool: "true|false"}
    return next((kinds[leaf] for leaf in setting.kinds if leaf in kinds), "NAME")


def _reader(setting: Setting) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return setting.read_text(text)
        except RequestError as reason:
            raise argparse.ArgumentTypeError(str(reason)) from None

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


def read_options(options: type[T], arguments: argparse.Namespace) -> T:
    """Build `options` from the files named by --config, then what the command line gave."""
    values = read_config(options, arguments.config)
    names = settings_of(options)
    values.update({name: value for name, value in vars(arguments).items() if name in names})
    return build(options, values)


def read_config(options: type, paths: Sequence[Path]) -> dict[str, Any]:
    """The settings of files named by --config, by their flat names; later files win.

    Raises RequestError naming the file for unknown names.
    """
    values: dict[str, Any] = {}
    for path in paths:
        values.update(flat(options, read_yaml(path), where=str(path)))
    return values
