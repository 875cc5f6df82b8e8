"""`cnx models`: list model variants, fetch, verify and import their files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from animate.cli.arguments import Parser, add_display, make_parser, parse, progress_of
from animate.errors import ModelError
from animate.models.stills import load_still_design, split_name, still_design_names
from animate.models.store import ModelFile
from animate.models.variants import list_variants, load_variant, resolve
from animate.progress import Progress
from animate.request.schema import plain
from animate.request.wording import listed, nearest

POSE_NETWORKS = "dwpose"


def parser() -> Parser:
    """The arguments of the command."""
    command = make_parser(
        "models", "List, fetch, verify and import model variants.", "cnx models fetch svd-v2"
    )
    names = "list|fetch|verify|import"
    actions = command.add_subparsers(dest="action", required=True, metavar=names)
    listing = actions.add_parser("list", help="variants, whether they are here, and licences")
    listing.add_argument("--json", action="store_true", help="print one JSON object for each")
    listing.add_argument(
        "--kind",
        choices=("variant", "still", "metric"),
        default="variant",
        help="model variants (default), models for stills, or networks of measures that you named",
    )
    for action, text in (
        ("fetch", "download the files of a variant, or of the dwpose estimator"),
        ("verify", "check files on this machine against their digests; needs no network"),
    ):
        sub = actions.add_parser(action, help=text, allow_abbrev=False)
        sub.add_argument(
            "name", metavar="NAME|FOLDER", help=f"a variant, a folder, or {POSE_NETWORKS}"
        )
        if action == "fetch":
            sub.add_argument(
                "--accept-licence",
                action="append",
                default=[],
                metavar="NAME",
                help="accept the restricted licence of this repository, or all of this variant's",
            )
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
        "--like", metavar="VARIANT", help="variant whose constants to take, if it is not recognised"
    )
    add_display(sub)


def main(argv: list[str]) -> int:
    """Parse and run one of the four; returns the exit code."""
    arguments = parse(parser(), argv)
    if arguments.action == "list":
        if arguments.kind == "metric":
            return show_metrics(as_json=arguments.json)
        if arguments.kind == "still":
            return show_stills(as_json=arguments.json)
        return show_list(as_json=arguments.json)
    progress = progress_of(arguments)
    if arguments.action == "import":
        return import_files(arguments, progress)
    if arguments.action == "fetch":
        return fetch(arguments.name, progress, arguments.accept_licence)
    return verify(arguments.name, progress)


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


def show_list(*, as_json: bool = False) -> int:
    """Print every variant: its additions, licences, size to download, window and memory."""
    from animate.models.listing import listing_of

    for listing in map(listing_of, list_variants()):
        print(json.dumps(plain(listing)) if as_json else "\n".join((*listing.lines(), "")))
    if not as_json:
        chosen = resolve("auto")
        print(f"--model auto takes {chosen.variant.name}: {chosen.reason}")
        print(f"for stills: {', '.join(still_design_names())}; cnx models list --kind still")
    return 0


def show_stills(*, as_json: bool = False) -> int:
    """Print every model for stills: its licences, checkpoints and size to download."""
    from animate.models.listing import still_listing_of

    for listing in map(still_listing_of, map(load_still_design, still_design_names())):
        print(json.dumps(plain(listing)) if as_json else "\n".join((*listing.lines(), "")))
    return 0


def show_metrics(*, as_json: bool = False) -> int:
    """Print the networks of measures, whether they are here, and their digests."""
    from animate.evaluation.network_files import network_states, remembered_folder

    for state in network_states(remembered_folder()):
        print(json.dumps(plain(state)) if as_json else state.line())
    return 0


def files_of(name: str) -> tuple[ModelFile, ...]:
    """The files behind a name."""
    if name == POSE_NETWORKS:
        from animate.driving.estimators import dwpose_files

        return dwpose_files()
    design, checkpoint = split_name(name)
    if design in still_design_names():
        return tuple(load_still_design(design).files(checkpoint))
    return tuple(load_variant(name).files())


def fetch(name: str, progress: Progress, accepted: Sequence[str] = ()) -> int:
    """Download what is missing, licences said first. Raises ModelError with the way out."""
    from animate.models import hub
    from animate.models.licences import file_licences, weights_licences

    are_files = name == POSE_NETWORKS or split_name(name)[0] in still_design_names()
    if are_files:
        files = files_of(name)
        licences = file_licences(files)
        repositories = [each.origin for each in licences]
        chosen = repositories if name in accepted else accepted
        _check_names(accepted, {name, *repositories})
    else:
        variant = load_variant(name)
        licences, chosen = weights_licences(variant), accepted
        _check_names(accepted, {variant.name, *(each.origin for each in licences)})
    for licence in licences:
        progress.note(f"{name}: {licence.line()}")
    if are_files:
        paths = hub.fetch_files(files, progress, accepted=chosen)
    else:
        paths = hub.fetch(variant, progress, accepted=chosen)
    progress.note(f"{name}: {len(paths)} files are here, digests as stated")
    if not are_files:
        progress.note(f"use it with --model {name}")
    return 0


def _check_names(accepted: Sequence[str], known: set[str]) -> None:
    for name in accepted:
        if name not in known:
            raise ModelError(
                f"--accept-licence {name} names no licence of these files{nearest(name, known)} "
                f"(there are {', '.join(sorted(known))})"
            )


def verify(name: str, progress: Progress) -> int:
    """Check every file. Raises ModelError when one is missing or damaged."""
    from animate.models.hub import verify_files

    states = verify_files(files_of(name))
    for state in states:
        progress.note(f"{state.state:<8} {state.file}")
    bad = [state.file for state in states if state.state in ("missing", "damaged")]
    if bad:
        files = listed(bad)
        raise ModelError(f"{name}: missing or damaged: {files}; cnx models fetch {name} gets them")
    return 0
