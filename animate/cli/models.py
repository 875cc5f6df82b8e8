"""`cnx models`: which model variants there are, fetching and verifying their files."""

from __future__ import annotations

from collections.abc import Iterable

from animate.cli.arguments import add_shown, make_parser, parse, shown
from animate.errors import ModelError
from animate.models.store import ModelFile
from animate.models.variants import list_variants, load_variant, resolve
from animate.progress import Progress

POSE_NETWORKS = "dwpose"


def main(argv: list[str]) -> int:
    """Parse and run one of the three; returns the exit code."""
    parser = make_parser(
        "models", "List, fetch and verify model variants.", "cnx models fetch svd-v2"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|fetch|verify")
    actions.add_parser("list", help="variants, whether they are here, and their licences")
    for action, text in (
        ("fetch", "download the files of a variant, or of the dwpose estimator"),
        ("verify", "check files on this machine against their digests; needs no network"),
    ):
        sub = actions.add_parser(action, help=text, allow_abbrev=False)
        sub.add_argument("name", metavar="NAME", help=f"a variant, a folder, or {POSE_NETWORKS}")
        add_shown(sub)
    arguments = parse(parser, argv)
    if arguments.action == "list":
        return show_list()
    progress = shown(arguments)
    act = fetch if arguments.action == "fetch" else verify
    return act(arguments.name, progress)


def show_list() -> int:
    """Print every variant: what it is, whether its files are here, and whose licences apply."""
    for variant in list_variants():
        missing = len(variant.missing())
        state = f"{missing} files not here: cnx models fetch {variant.name}" if missing else "here"
        sizes = ", ".join(str(size) for size in variant.sizes)
        licences = {variant.licence, *(source.licence for source in variant.sources.values())}
        print(f"{variant.name:<8} {variant.summary}")
        print(f"{'':<8} {sizes}; windows of {variant.defaults.window} frames; {state}")
        print(f"{'':<8} licences: {'; '.join(sorted(licences))}")
    chosen = resolve("auto")
    print(f"--model auto takes {chosen.variant.name}: {chosen.reason}")
    return 0


def files_of(name: str) -> tuple[tuple[ModelFile, ...], str]:
    """The files behind a name, and the licences that apply to them."""
    if name == POSE_NETWORKS:
        from animate.driving.estimators import dwpose_files
        from pose.estimators.dwpose import LICENCE_NOTE

        return dwpose_files(), LICENCE_NOTE
    variant = load_variant(name)
    licences = {variant.licence, *(source.licence for source in variant.sources.values())}
    return tuple(variant.files()), "; ".join(sorted(licences))


def fetch(name: str, progress: Progress) -> int:
    """Download what is missing. Raises ModelError with the way out."""
    from animate.models.hub import fetch_files

    files, licences = files_of(name)
    progress.note(f"{name}: licences {licences}")
    paths = fetch_files(
        files, lambda file, number, total: progress.note(f"{number}/{total} {file}")
    )
    progress.note(f"{name}: {len(paths)} files are here, digests as stated")
    return 0


def verify(name: str, progress: Progress) -> int:
    """Check every file. Raises ModelError when one is missing or damaged."""
    from animate.models.hub import verify_files

    states = verify_files(files_of(name)[0])
    for state in states:
        progress.note(f"{state.state:<8} {state.file}")
    bad = _shown(str(state.file) for state in states if state.state in ("missing", "damaged"))
    if bad:
        raise ModelError(f"{name}: missing or damaged: {bad}; cnx models fetch {name} gets them")
    return 0


def _shown(names: Iterable[str]) -> str:
    return ", ".join(names)
