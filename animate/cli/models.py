"""`cnx models`: list model variants, fetch, verify and import their files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from animate.cli.arguments import Parser, add_display, make_parser, parse, progress_of
from animate.errors import ModelError
from animate.models.config import Source
from animate.models.stills import (
    StillDesign,
    load_still_design,
    split_name,
    still_design_names,
)
from animate.models.store import ModelFile
from animate.models.variants import ModelVariant, list_variants, load_variant, resolve
from animate.progress import Progress
from animate.request.wording import listed

POSE_NETWORKS = "dwpose"


def parser() -> Parser:
    """The arguments of the command."""
    command = make_parser(
        "models", "List, fetch, verify and import model variants.", "cnx models fetch svd-v2"
    )
    names = "list|fetch|verify|import"
    actions = command.add_subparsers(dest="action", required=True, metavar=names)
    listing = actions.add_parser("list", help="variants, whether they are here, and licences")
    listing.add_argument(
        "--kind",
        choices=("variant", "metric"),
        default="variant",
        help="model variants (default), or networks of measures that you named",
    )
    for action, text in (
        ("fetch", "download the files of a variant, or of the dwpose estimator"),
        ("verify", "check files on this machine against their digests; needs no network"),
    ):
        sub = actions.add_parser(action, help=text, allow_abbrev=False)
        sub.add_argument("name", metavar="NAME", help=f"a variant, a folder, or {POSE_NETWORKS}")
        add_display(sub)
    _add_import(actions)
    return command


def _add_import(actions: Any) -> None:
    sub = actions.add_parser(
        "import",
        help="make a model folder of files that other programs keep, linked, not copied",
        allow_abbrev=False,
    )
    sub.add_argument(
        "source",
        metavar="SOURCE",
        help="a folder in diffusers' layout or with unet.bin and controlnet.bin, a checkpoint in "
        "one file, or OWNER/NAME in the hub's cache",
    )
    sub.add_argument("name", metavar="NAME", help="model folder to make")
    sub.add_argument(
        "--base", metavar="SOURCE", help="where autoencoder and image encoder are, if not in SOURCE"
    )
    sub.add_argument(
        "--like", metavar="NAME", help="variant whose constants to take, if it is not recognised"
    )
    add_display(sub)


def main(argv: list[str]) -> int:
    """Parse and run one of the four; returns the exit code."""
    arguments = parse(parser(), argv)
    if arguments.action == "list":
        return show_list() if arguments.kind == "variant" else show_metrics()
    progress = progress_of(arguments)
    if arguments.action == "import":
        return import_files(arguments, progress)
    act = fetch if arguments.action == "fetch" else verify
    return act(arguments.name, progress)


def import_files(arguments: Any, progress: Progress) -> int:
    """Make a model folder, and say what was recognised. Raises ModelError."""
    from animate.models.importing import import_model

    imported = import_model(
        arguments.source, Path(arguments.name), base=arguments.base, like=arguments.like
    )
    for line in imported.recognised:
        progress.note(line)
    missing = imported.variant.missing()
    if missing:
        files = listed([str(file) for file in missing])
        progress.note(f"still to fetch: {files}; `cnx models fetch {arguments.name}` gets them")
    folder = arguments.name if "/" in arguments.name else f"./{arguments.name}"
    progress.note(f"use it with --model {folder}")
    return 0


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
    print("for stills (cnx still --list):")
    for name in still_design_names():
        print(f"{name:<24} {load_still_design(name).state()}")
    chosen = resolve("auto")
    print(f"--model auto takes {chosen.variant.name}: {chosen.reason}")
    return 0


def show_metrics() -> int:
    """Print the networks of measures, whether they are here, and their digests."""
    from animate.evaluation.network_files import network_lines, remembered_folder

    print("\n".join(network_lines(remembered_folder())))
    return 0


def files_of(name: str) -> tuple[tuple[ModelFile, ...], tuple[str, ...]]:
    """The files behind a name, and a line for each licence: the files that it covers."""
    if name == POSE_NETWORKS:
        from animate.driving.estimators import dwpose_files
        from pose.estimators.dwpose import LICENCE_NOTE

        return dwpose_files(), (LICENCE_NOTE,)
    still, checkpoint = split_name(name)
    if still in still_design_names():
        design = load_still_design(still)
        still_files = tuple(design.files(checkpoint))
        return still_files, tuple(_licence_lines(design, still_files))
    variant = load_variant(name)
    return tuple(variant.files()), tuple(_licence_lines(variant, variant.files()))


def _licence_lines(
    variant: ModelVariant | StillDesign, needed: Iterable[ModelFile]
) -> Iterator[str]:
    by_origin: dict[str, list[ModelFile]] = {}
    for file in needed:
        by_origin.setdefault(file.source.repository if file.source else "", []).append(file)
    for files in by_origin.values():
        source, paths = files[0].source, [file.path for file in files]
        owner: Source | ModelVariant | StillDesign = source or variant
        origin = source.repository if source else f"the folder of {variant.name}"
        link = f" ({owner.licence_url})" if owner.licence_url else ""
        gate = "; it must be accepted there" if source and source.gated else ""
        yield f"licence {owner.licence}{link}{gate}: {listed(paths)} of {origin}"


def fetch(name: str, progress: Progress) -> int:
    """Download what is missing. Raises ModelError with the way out."""
    from animate.models.hub import fetch_files

    files, licences = files_of(name)
    for line in licences:
        progress.note(f"{name}: {line}")
    paths = fetch_files(files, progress)
    progress.note(f"{name}: {len(paths)} files are here, digests as stated")
    return 0


def verify(name: str, progress: Progress) -> int:
    """Check every file. Raises ModelError when one is missing or damaged."""
    from animate.models.hub import verify_files

    states = verify_files(files_of(name)[0])
    for state in states:
        progress.note(f"{state.state:<8} {state.file}")
    bad = [state.file for state in states if state.state in ("missing", "damaged")]
    if bad:
        files = listed(bad)
        raise ModelError(f"{name}: missing or damaged: {files}; cnx models fetch {name} gets them")
    return 0
