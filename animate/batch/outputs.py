"""Finished clips by their records, and the decision on a job whose clip may be there.

A clip that lies where a job's would go is kept where its record says that it was made of the same
inputs, settings and weights. Clips lie on this machine's file systems or in a store
(`animate.batch.staging`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from animate.batch.paths import former_record_path
from animate.batch.records import KEPT, ClipState, JobRecord, Products, read_record
from animate.clip.fingerprint import Fingerprint
from animate.clip.record import is_of_another
from animate.files import is_sequence, sha256
from animate.media.sequences import sequence_files
from animate.request.schema import plain


def clip_state(output: Path) -> ClipState | None:
    """The marks of a finished clip; None where there is none."""
    if is_sequence(output):
        images = sequence_files(output)
        size = sum(image.stat().st_size for image in images)
        return ClipState(files=len(images), bytes=size) if images else None
    if not output.is_file():
        return None
    state = output.stat()
    return ClipState(bytes=state.st_size, mtime_ns=state.st_mtime_ns, sha256=sha256(output))


def clip_exists(output: Path) -> bool:
    """True where a clip of this name, or an image of it, is there."""
    return bool(sequence_files(output)) if is_sequence(output) else output.exists()


def is_clip_of(record: JobRecord, output: Path) -> bool:
    """True where the clip at `output` is the one that the record was written for.

    Its content is read only where its time has changed, as after copying a folder.
    """
    stated = record.clip
    if stated is None:
        return False
    if is_sequence(output):
        return clip_state(output) == stated
    try:
        state = output.stat()
    except OSError:
        return False
    if state.st_size != stated.bytes:
        return False
    return state.st_mtime_ns == stated.mtime_ns or sha256(output) == stated.sha256


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The decision on a job."""

    due: bool
    """It is to be done."""
    why: str
    """The reason, in words."""
    foreign: Path | None = None
    """A file that is not this batch's and lies where the clip, or one beside it, would go."""
    in_the_way: bool = False
    """The clip that is there is somebody else's."""
    earlier: JobRecord | None = None
    """The record whose clip is kept; None where the job is due."""


def plan_job(products: Products, key: Fingerprint | None, *, overwrite: bool = False) -> Plan:
    """Compare a job with what is there. `key` is None where it cannot be known."""
    earlier = read_record(products.record) or _former_record(products.output)
    plan = decide(
        earlier,
        key,
        exists=clip_exists(products.output),
        recorded=earlier is not None and is_clip_of(earlier, products.output),
        missing=[name for name, file in products.besides.items() if not file.exists()],
        overwrite=overwrite,
    )
    if plan.in_the_way:
        return replace(plan, foreign=products.output)
    if plan.due and not overwrite and not _was_begun(earlier):
        return replace(plan, foreign=_foreign_beside(products))
    return plan


def _was_begun(earlier: JobRecord | None) -> bool:
    """True if a batch may have written the files beside a clip."""
    if earlier is None or (earlier.status == "failed" and earlier.clip is None):
        return False
    return earlier.status != "waiting"


def _foreign_beside(products: Products) -> Path | None:
    """A file in place of one beside the clip, or of its own record; None where there is none."""
    record = next(
        (path for path in products.sidecars if not is_of_another(path, products.output)), None
    )
    files = [*products.besides.values(), *([record] if record is not None else [])]
    return next((file for file in files if clip_exists(file)), None)


def _former_record(output: Path) -> JobRecord | None:
    """The record that the version before wrote of a clip."""
    record = read_record(former_record_path(output))
    return record if record is not None and record.output == output else None


def decide(
    earlier: JobRecord | None,
    key: Fingerprint | None,
    *,
    exists: bool,
    recorded: bool,
    missing: Sequence[str] = (),
    overwrite: bool = False,
) -> Plan:
    """The decision on a job.

    earlier: its record; None where there is none
    exists, recorded: a clip of this name is there; it is the one that the record was written for
    missing: settings whose files beside the clip are gone
    """
    if overwrite:
        return Plan(due=True, why="asked to overwrite" if exists or earlier else "new")
    if earlier is None:
        return Plan(due=True, why="new", in_the_way=exists)
    recorded = recorded or earlier.status == "running"
    redo = partial(Plan, due=True, in_the_way=exists and not recorded)
    if earlier.status != "done":
        reasons = {"running": "it was interrupted", "waiting": "it waited"}
        return redo(why=reasons.get(earlier.status, "it failed before"))
    if not exists:
        return redo(why="its clip is gone")
    if not recorded:
        return redo(why="its clip was changed by somebody else")
    if key is None:
        return redo(why="its inputs cannot be read")
    if earlier.key is None:
        return redo(why="its record is of another version")
    if earlier.key.digest != key.digest:
        return redo(why=f"changed: {key.changes(plain(earlier.key))}")
    for name in missing:
        return redo(why=f"its {name.replace('_', ' ')} is gone")
    return Plan(due=False, why=KEPT, earlier=earlier)


class Outputs(Protocol):
    """The folder, here or in a store, that holds clips and their records."""

    copies: bool
    """A clip with the key of another is copied from it."""

    def plan(self, products: Products, key: Fingerprint | None, *, overwrite: bool) -> Plan:
        """Compare a job with what is there."""

    def write(self, record: JobRecord) -> None:
        """Put a record at its path, atomically. Raises MediaError or OSError."""

    def state(self, output: Path) -> ClipState | None:
        """Marks of a finished clip; None where there is none."""


class LocalOutputs:
    """Clips and records on this machine's file systems."""

    copies = True

    def plan(self, products: Products, key: Fingerprint | None, *, overwrite: bool) -> Plan:
        """See `Outputs`."""
        return plan_job(products, key, overwrite=overwrite)

    def write(self, record: JobRecord) -> None:
        """See `Outputs`."""
        record.write()

    def state(self, output: Path) -> ClipState | None:
        """See `Outputs`."""
        return clip_state(output)
