"""`cnx info`: where a clip comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from animate.cli.arguments import Parser, make_parser, parse, progress_of
from animate.errors import MediaError
from animate.progress import JsonLines

if TYPE_CHECKING:
    from animate.clip.provenance import Signature


def parser() -> Parser:
    """The arguments of the command."""
    command = make_parser(
        "info",
        "Where a clip comes from: what its file says, whether the record beside it is of the same\n"
        "run, and Content Credentials checked against the file. Exit code 2 for a clip that says\n"
        "nothing, or whose credentials do not fit it.",
        "cnx info clip.mp4",
        "cnx info CLIP [options]",
    )
    command.add_argument("clip", type=Path, metavar="CLIP", help="a clip, or NAME/%%04d.png")
    command.add_argument("--json", action="store_true", help="one JSON object")
    return command


def main(argv: list[str]) -> int:
    """Parse, read, print. Returns the exit code; errors pass through."""
    arguments = parse(parser(), argv)
    progress, facts = progress_of(arguments), provenance_of(arguments.clip)
    if isinstance(progress, JsonLines):
        progress.event("info", **asdict(facts))
    elif arguments.json:
        print(json.dumps(asdict(facts), indent=2))
    elif not arguments.quiet and (lines := _lines(facts)):
        print("\n".join(lines))
    if facts.credentials is not None and facts.credentials.state == "Invalid":
        raise MediaError(f"{arguments.clip} was changed after it was signed")
    if not facts.copy and facts.credentials is None:
        raise MediaError(f"{arguments.clip} does not say where it comes from")
    return 0


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Origin of a clip, read from its record and its own metadata."""

    copy: Mapping[str, object] | None
    """The short copy of its record in the container."""
    record: str | None
    """Path of the record beside it."""
    same_run: bool
    """The record is of the run that wrote the copy, and fits the file."""
    credentials: Signature | None
    credentials_checked: bool
    """Content Credentials can be read on this machine."""


def provenance_of(clip: Path) -> Provenance:
    """The copy in the container, the record beside it, and the credentials.

    Raises MediaError when the clip cannot be read.
    """
    from importlib.util import find_spec

    from animate.clip.provenance import read_credentials, read_short_copy
    from animate.clip.record import ClipRecord, find_record

    copy = read_short_copy(clip)
    beside = find_record(clip)
    record = ClipRecord.read(beside) if beside is not None else None
    can_check = find_spec("c2pa") is not None
    same_run = copy is not None and record is not None and copy.digest == record.digest
    return Provenance(
        copy=copy.values() if copy else None,
        record=str(beside) if record else None,
        same_run=same_run and record is not None and record.fits(clip, verify=True),
        credentials=read_credentials(clip) if can_check else None,
        credentials_checked=can_check,
    )


def _lines(facts: Provenance) -> list[str]:
    copy = dict(facts.copy or {})
    inputs = copy.pop("inputs", {})
    lines = [f"{name:<12} {value}" for name, value in copy.items()]
    if isinstance(inputs, Mapping):
        lines += [f"{name:<12} sha256 {digest}..." for name, digest in inputs.items()]
    if facts.record:
        origin = "of this very run" if facts.same_run else "of another run"
        lines.append(f"{'record':<12} {facts.record}, {origin}")
    if facts.credentials is not None:
        signature = facts.credentials
        lines.append(f"{'credentials':<12} {signature.state}, by {signature.signer}")
    elif not facts.credentials_checked:
        lines.append(f"{'credentials':<12} not checked: pip install 'cnx-animate[c2pa]'")
    return lines
