"""`cnx clean`: throw away what killed runs have left."""

from __future__ import annotations

from pathlib import Path

from animate.cli.arguments import make_parser, parse, shown


def main(argv: list[str]) -> int:
    """Parse, remove, say what went. Returns the exit code; errors pass through."""
    parser = make_parser(
        "clean",
        "Throw away unfinished work and half-written files of runs that were killed. What a run "
        "still works on stays.",
        "cnx clean clips --dry-run",
        "cnx clean [FOLDER] [options]",
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path(), metavar="FOLDER",
        help="a work folder, or the folder to look in (default: the current one)",
    )  # fmt: skip
    parser.add_argument("--recursive", action="store_true", help="look in all folders below too")
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    arguments = parse(parser, argv)

    from animate.work.leftovers import leftovers, throw_away

    say = shown(arguments).note
    total, count = 0, 0
    for leftover in list(leftovers(arguments.folder, recursive=arguments.recursive)):
        told = f"{leftover.path} ({leftover.what}, {leftover.size:,} bytes)"
        if leftover.busy or not (arguments.dry_run or throw_away(leftover)):
            say(f"kept, a run is using it: {told}")
            continue
        say(f"{'would remove' if arguments.dry_run else 'removed'} {told}")
        total, count = total + leftover.size, count + 1
    if not count:
        say(f"nothing to remove in {arguments.folder}")
    else:
        verb = "would be freed" if arguments.dry_run else "freed"
        say(f"{count} {'thing' if count == 1 else 'things'}, {total:,} bytes {verb}")
    return 0
