"""Command-line arguments from the dataclasses that hold the settings.

Every option's name, help text, choices and bounds come from its field; the parser adds nothing
but dashes. What is not given is absent from the result, so that a file's value can stand.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar, get_origin

from animate.errors import RequestError
from animate.progress import KINDS, Progress, choose_progress
from animate.request.presets import preset_names, read_config
from animate.request.schema import build, settings_of
from animate.request.setting import Setting
from animate.request.wording import nearest, quoted

T = TypeVar("T")


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in this program's words and knows the nearest option.

    Its faults are RequestErrors. Options that were added as unusual are shown by `--help-all`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **{**options, "allow_abbrev": False})
        self.unusual: list[tuple[argparse.Action, str]] = []
        """Options that the help leaves out, with their texts."""
        self._arguments: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does it, for subcommands too, but for arguments that nobody knows."""
        self._arguments = [str(argument) for argument in args or ()]
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self._refuse(unknown[0])
        return parsed, unknown

    def _flags(self) -> list[str]:
        return [flag for action in self._actions for flag in action.option_strings]

    def _refuse(self, argument: str) -> NoReturn:
        if not argument.startswith("-"):
            raise RequestError(
                f"argument {quoted(argument)} is one too many; see {self.prog} --help"
            )
        flag = argument.partition("=")[0]
        hint = nearest(flag, self._flags()).replace("'", "")
        help_flag = "--help-all" if self.unusual else "--help"
        raise RequestError(f"unknown option {flag}{hint or f'; see {self.prog} {help_flag}'}")

    def error(self, message: str) -> NoReturn:
        """Raise argparse's message as a RequestError."""
        text = message.removeprefix("argument ")
        if match := re.fullmatch(r"(.+): invalid choice: '(.*)' \(choose from (.+)\)", text, re.S):
            name, value, words = match[1], match[2], re.findall(r"[\w-]+", match[3])
            name = "action" if "|" in name else name
            text = f"{name} {quoted(value)} is not one of {', '.join(words)}{nearest(value, words)}"
        elif match := re.fullmatch(r"the following arguments are required: (.+)", text, re.S):
            for argument in self._arguments:  # a misspelt option may be the one that is missing
                if argument.startswith("--") and argument.partition("=")[0] not in self._flags():
                    self._refuse(argument)
            text = f"missing: {match[1]}; see {self.prog} --help"
        elif match := re.fullmatch(r"(.+): expected (?:one|at least one) argument", text, re.S):
            text = f"{match[1]} needs a value"
        elif match := re.fullmatch(r"(.+): invalid \w+ value: '(.*)'", text, re.S):
            text = f"{match[1]} {quoted(match[2])} is not a number"
        raise RequestError(text)


class _HelpAll(argparse.Action):
    """Show the help with all options."""

    def __call__(self, parser: Any, *arguments: Any, **options: Any) -> None:
        for action, text in parser.unusual:
            action.help = text
        parser.print_help()
        parser.exit()


def make_parser(
    command: str, description: str, example: str = "", usage: str | None = None
) -> Parser:
    """A parser for `cnx COMMAND`; `parse` adds the options that every command has."""
    return Parser(
        prog=f"cnx {command}".rstrip(),
        usage=usage,
        description=description,
        epilog=example and f"example:\n  {example}",
    )


def parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command, with `quiet`, `progress`, `json_progress` and `debug`.

    Raises RequestError for what the parser does not know or take, and where two exclude each other.
    """
    add_display(parser, default=False)
    parser.set_defaults(progress="auto")
    arguments = parser.parse_args(argv)
    chosen = {
        "--quiet": arguments.quiet,
        "--json-progress": arguments.json_progress,
        f"--progress {arguments.progress}": arguments.progress != "auto",
    }
    flags = [flag for flag, is_chosen in chosen.items() if is_chosen]
    if len(flags) > 1:
        raise RequestError(f"{' and '.join(flags)} exclude each other; give one of them")
    return arguments


def progress_of(arguments: argparse.Namespace) -> Progress:
    """The display of a command's progress, as its arguments ask for it."""
    return choose_progress(
        quiet=arguments.quiet, as_json=arguments.json_progress, kind=arguments.progress
    )


def add_display(parser: argparse.ArgumentParser, default: Any = argparse.SUPPRESS) -> None:
    """Add the options that every command has; also after an action, where the default is the
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


def add_options(parser: Parser, options: type, title: str, *, skip: Sequence[str] = ()) -> None:
    """Add every setting of a dataclass, except those in `skip`; the help shows the usual ones."""
    group = parser.add_argument_group(title)
    for setting in settings_of(options).values():
        if setting.group or setting.name in skip:
            continue
        action = add_option(group, setting)
        if not setting.usual:
            parser.unusual.append((action, str(action.help)))
            action.help = argparse.SUPPRESS


def add_help_all(parser: Parser) -> None:
    """Add `--help-all`, which shows the unusual options too."""
    parser.add_argument(
        "--help-all", action=_HelpAll, nargs=0, help="show this help with all options, and exit"
    )


def add_option(
    parser: Any, setting: Setting, *, help: str = "", default: Any = argparse.SUPPRESS
) -> argparse.Action:
    """Add one setting to a parser or a group of one.

    help: text in place of the setting's own
    default: value in the result where the option is not given; else it is absent there
    """
    text = (help or setting.help).replace("%", "%%")  # argparse fills in values by it
    common = {"dest": setting.name, "default": default}
    if setting.hint is bool:
        action: Any = argparse.BooleanOptionalAction if setting.default else "store_true"
        text += " (default: yes)" if setting.default else ""
        return parser.add_argument(setting.flag, action=action, help=text, **common)
    several = {"action": "extend"} if get_origin(setting.hint) is tuple else {}
    if setting.default_text:
        text += f" (default: {setting.default_text})"
    return parser.add_argument(
        setting.flag,
        type=TextReader(setting.flag, setting.name, setting.read_text, setting),
        metavar=setting.metavar or _placeholder(setting),
        help=text,
        **common,
        **several,
    )


def _placeholder(setting: Setting) -> str:
    if setting.choices:
        return f"{{{','.join(setting.choices)}}}"
    kinds = {int: "N", float: "X", bool: "true|false"}
    return next((kinds[kind] for kind in setting.kinds if kind in kinds), "NAME")


@dataclass(frozen=True)
class TextReader:
    """A reader of an option's text, whose faults name the option as it is typed."""

    flag: str
    name: str
    """Word that the reader's own messages begin with."""
    read: Callable[[str], Any]
    setting: Setting | None = None
    """The setting that is read, where it is one."""

    def __call__(self, text: str) -> Any:
        """The value of a text. Raises RequestError."""
        try:
            return self.read(text)
        except RequestError as reason:
            fault = as_typed(str(reason), {self.name: self.flag})
            prefix = "" if fault.startswith(self.flag) else f"{self.flag}: "
            raise RequestError(prefix + fault) from None


def as_typed(fault: str, flags: Mapping[str, str]) -> str:
    """A message that begins with the name of a setting, with the option in its place."""
    name, space, text = fault.partition(" ")
    return f"{flags[name]}{space}{text}" if name in flags else fault


def add_config(parser: argparse.ArgumentParser, *, presets: bool = True) -> None:
    """Add `--config NAME|FILE`, given once or several times; other options have the last word.

    presets: the command makes clips, which is what the shipped presets are for
    """
    names = f"a preset ({', '.join(preset_names())}) or " if presets else ""
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="NAME|FILE" if presets else "FILE",
        help=f"settings by the same names: {names}a YAML file; later ones and options win",
    )


def typed_settings(
    options: type, arguments: argparse.Namespace, *, skip: Sequence[str] = ()
) -> dict[str, Any]:
    """The settings of a dataclass that the command line gave, but for those in `skip`."""
    known = settings_of(options).keys() - set(skip)
    return {name: value for name, value in vars(arguments).items() if name in known}


def read_options(options: type[T], arguments: argparse.Namespace) -> T:
    """Build `options` from what --config names, then what the command line gave."""
    values = read_config(options, arguments.config)
    typed = typed_settings(options, arguments)
    in_files = values.keys() - typed.keys()
    flags = {name: s.flag for name, s in settings_of(options).items() if name not in in_files}
    try:
        return build(options, {**values, **typed})
    except RequestError as reason:
        raise RequestError(as_typed(str(reason), flags)) from None
