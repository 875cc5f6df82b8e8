"""`cnx info`: where a clip comes from."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from animate.cli.arguments import Parser, make_parser, parse, progress_of
from animate.errors import MediaError
from animate.progress import JsonLines


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
        progress.event("info", **facts)
    elif arguments.json:
        print(json.dumps(facts, indent=2))
    elif not arguments.quiet:
        print("\n".join(_lines(facts)))
    if facts["credentials"] and facts["credentials"]["state"] == "Invalid":
        raise MediaError(f"{arguments.clip} was changed after it was signed")
    if not facts["copy"] and not facts["credentials"]:
        raise MediaError(f"{arguments.clip} does not say where it comes from")
    return 0


def provenance_of(clip: Path) -> dict[str, Any]:
    """`copy` in the container, `record` beside it and whether it is `same_run`, `credentials`.

    Raises MediaError when the clip cannot be read.
    """
    from importlib.util import find_spec

    from animate.clip.provenance import read_credentials, read_short_copy
    from animate.clip.record import ClipRecord, find_record

    copy = read_short_copy(clip)
    beside = find_record(clip)
    record = ClipRecord.read(beside) if beside is not None else None
    can_check = find_spec("c2pa") is not None
    signature = read_credentials(clip) if can_check else None
    return {
        "copy": copy.values() if copy else None,
        "record": str(beside) if record else None,
        "same_run": bool(
            copy and record and copy.digest == record.digest and record.fits(clip, verify=True)
        ),
        "credentials": asdict(signature) if signature else None,
        "credentials_checked": can_check,
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    copy, credentials = facts["copy"] or {}, facts["credentials"]
    lines = [f"{name:<12} {value}" for name, value in copy.items() if name != "inputs"]
    lines += [f"{name:<12} sha256 {digest}..." for name, digest in copy.get("inputs", {}).items()]
    if facts["record"]:
        same = "of this very run" if facts["same_run"] else "of another run"
        lines.append(f"{'record':<12} {facts['record']}, {same}")
    if credentials:
        lines.append(f"{'credentials':<12} {credentials['state']}, by {credentials['signer']}")
    elif not facts["credentials_checked"]:
        lines.append(f"{'credentials':<12} not checked: pip install 'cnx-animate[c2pa]'")
    return lines
