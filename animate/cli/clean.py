"""`cnx clean`: throw away what killed runs have left."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from animate.cli.arguments import Parser, make_parser, parse, progress_of
from animate.errors import MediaError, RequestError, WorkError

if TYPE_CHECKING:
    from animate.clip.leftovers import Leftover


def parser() -> Parser:
    """The arguments of the command."""
    command = make_parser(
        "clean",
        "Throw away unfinished work and half-written files of runs that were killed, after\n"
        "listing them. What a run still works on stays, and so does every file that this program\n"
        "has not made.",
        "cnx clean clips --dry-run",
        "cnx clean [FOLDER] [options]",
    )
    command.add_argument(
        "folder", nargs="?", type=Path, metavar="FOLDER",
        help="a work folder, or the folder to look in (default: the current one; with --cache the "
        "user's cache)",
    )  # fmt: skip
    command.add_argument("--recursive", action="store_true", help="look in all folders below too")
    command.add_argument(
        "--cache",
        action="store_true",
        help="instead, what is kept between runs: poses, paces of clips and colours of previews",
    )
    command.add_argument("--dry-run", action="store_true", help="only list what would go")
    command.add_argument("--yes", action="store_true", help="remove without asking")
    return command


def main(argv: list[str]) -> int:
    """Parse, list, ask, remove. Returns the exit code; errors pass through."""
    arguments = parse(parser(), argv)

    from animate.clip.leftovers import leftovers

    say = progress_of(arguments).note
    if arguments.cache:
        return _clean_cache(arguments, say)
    folder = arguments.folder or Path()
    listed = list(leftovers(folder, recursive=arguments.recursive, warn=say))
    for leftover in listed:
        verb = "kept, a run is using it:" if leftover.busy else "would remove"
        say(f"{verb} {_described(leftover)}")
    removable = [leftover for leftover in listed if not leftover.busy]
    if not removable:
        say(f"nothing to remove in {folder}")
        return 0
    if arguments.dry_run:
        say(f"{_counted(removable)} would be freed")
        return 0
    if not arguments.yes and not _agreed(_counted(removable)):
        say("nothing was removed")
        return 0
    _remove(removable, say)
    return 0


def _clean_cache(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Remove what runs have kept in a cache, after asking. Raises RequestError for a folder below
    others, MediaError where files cannot be removed."""
    from animate.driving.cache import kept_files, users_cache

    if arguments.recursive:
        raise RequestError("--recursive is for unfinished work; a cache has no folders below it")
    folder = arguments.folder or users_cache()
    files = kept_files(arguments.folder)
    total = sum(file.stat().st_size for file in files)
    poses = sum(file.suffix == ".npz" for file in files)
    kinds = [f"poses of {poses} video{'s' * (poses != 1)}"] if poses else []
    kinds += ["paces and colours"] if len(files) > poses else []
    amount = f"{total:,} bytes of {folder} ({', '.join(kinds)})"
    if not files:
        say(f"nothing to remove in {folder}")
    elif arguments.dry_run:
        say(f"{amount} would be freed")
    elif arguments.yes or _agreed(amount):
        try:
            for file in files:
                file.unlink(missing_ok=True)
        except OSError as reason:
            raise MediaError(f"{folder} cannot be emptied: {reason.strerror}") from reason
        say(f"{amount} freed")
    else:
        say("nothing was removed")
    return 0


def _agreed(amount: str) -> bool:
    """Ask on the terminal. Raises RequestError where there is none."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise RequestError(
            f"nothing was removed: {amount} would be freed; nobody can be asked here, "
            "so give --yes to remove, or --dry-run to list only"
        )
    print(f"cnx: remove {amount}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _remove(removable: list[Leftover], say: Callable[[str], None]) -> None:
    from animate.clip.leftovers import throw_away
    from animate.request.wording import listed

    removed, refusals = [], []
    for leftover in removable:
        try:
            foreign = throw_away(leftover)
        except WorkError as reason:  # the others can go all the same
            refusals.append(str(reason))
            continue
        if foreign is None:
            say(f"kept, a run is using it: {_described(leftover)}")
        else:
            stays = f"; kept {', '.join(foreign)}, which this program has not made"
            say(f"removed {_described(leftover)}{stays if foreign else ''}")
            removed.append(leftover)
    say(f"{_counted(removed)} freed")
    if refusals:
        raise WorkError(listed(refusals, separator="; "))


def _described(leftover: Leftover) -> str:
    path = str(leftover.path).replace("\n", "\\n")  # a name of two lines would be a list of its own
    return f"{path} ({leftover.kind}, {leftover.size:,} bytes)"


def _counted(items: list[Leftover]) -> str:
    total = sum(leftover.size for leftover in items)
    return f"{len(items)} {'thing' if len(items) == 1 else 'things'}, {total:,} bytes"
