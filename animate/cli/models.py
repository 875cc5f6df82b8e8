"""`cnx models`: which model variants there are, fetching and verifying their files."""

from __future__ import annotations

from animate.cli.arguments import make_parser
from animate.models.variants import list_variants, load_variant, resolve
from animate.progress import choose_progress


def main(argv: list[str]) -> int:
    """Parse and run one of the three; returns the exit code."""
    parser = make_parser(
        "models", "List, fetch and verify model variants.", "cnx models fetch svd-v2"
    )
    commands = parser.add_subparsers(dest="action", required=True, metavar="list|fetch|verify")
    commands.add_parser("list", help="variants, whether they are here, and their licences")
    for action, text in (
        ("fetch", "download a variant's files; says which licences they have"),
        ("verify", "check a variant's files on this machine against their digests"),
    ):
        sub = commands.add_parser(action, help=text)
        sub.add_argument("name", metavar="NAME", help="name of the variant, or dwpose")
    arguments = parser.parse_args(argv)
    if arguments.action == "list":
        return show_list()
    progress = choose_progress(quiet=arguments.quiet, as_json=arguments.json_progress)

    from animate.models import hub

    act = hub.fetch if arguments.action == "fetch" else hub.verify
    for line in act(arguments.name, progress):
        progress.note(line)
    return 0


def show_list() -> int:
    """Print every variant with where its files stand."""
    for variant in list_variants():
        missing = len(variant.missing())
        state = (
            f"{missing} file(s) not here: cnx models fetch {variant.name}" if missing else "here"
        )
        sizes = ", ".join(str(size) for size in variant.sizes)
        print(f"{variant.name:<8} {variant.summary}")
        print(f"{'':<8} {sizes}; windows of {variant.sampling.window} frames; {state}")
        licences = {variant.licence, *(source.licence for source in variant.sources.values())}
        print(f"{'':<8} licences: {'; '.join(sorted(licences))}")
    chosen = resolve("auto")
    print(f"--model auto takes {chosen.variant.name}: {chosen.reason}")
    return 0


__all__ = ["load_variant", "main", "show_list"]
