"""Records of jobs: `clip.mp4.job.json` beside `clip.mp4`, written last and whole.

A record that says `done`, has the job's key and fits the clip that lies there is the completion
marker. While a job runs its record says `running`, so that what a killed program leaves is known
for the batch's own and made again. A record that does not read as one of these, to the type of
every field, counts as none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from animate.batch.failures import Kind
from animate.batch.kinds import USUAL_KIND, Products
from animate.batch.paths import former_record_path
from animate.clip.fingerprint import Fingerprint
from animate.clip.typed_json import from_plain
from animate.errors import MediaError
from animate.files import is_sequence, open_regular, sha256, write_text
from animate.media.sequences import sequence_files
from animate.request.schema import plain

SCHEMA = 2
KEPT = "its clip is as it was made"
Status = Literal["done", "kept", "failed", "running", "waiting"]
_MOST_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class ClipState:
    """The marks by which a finished clip is known again; of numbered images number and bytes."""

    bytes: int
    """Size of the file, or of all images."""
    files: int | None = None
    """Number of images; None for a single file."""
    mtime_ns: int | None = None
    """Time of the file's last change; the content is read only where it differs."""
    sha256: str = ""
    """Of the file's content."""
    version: str = ""
    """Version that a store gives a remote file."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Small JPEGs (base64) of a job for its card in the report."""

    reference: str = ""
    driving: str = ""
    """A driving frame, of the middle of the clip."""
    pose: str = ""
    results: tuple[str, ...] = ()
    """Frames of the clip, from first to last."""


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """The state of one job, and what making its clip took."""

    number: int
    """Of the job in its batch, from 1."""
    label: str
    """Its position in the manifest: "row 3 (line 4)"."""
    status: Status
    """done; kept (an earlier run had made it); failed; running; waiting (not begun)."""
    record: Path
    """The file that this is kept in."""
    product: str = USUAL_KIND
    """Kind of row: "clip" or "still" (`animate.batch.kinds`)."""
    output: Path | None = None
    """The clip; None for a row that names none."""
    why: str = ""
    """The reason for making or keeping it: "new", "steps 4 -> 8", "its clip is as it was made"."""
    request: Mapping[str, object] = field(default_factory=dict)
    """Every setting as given."""
    key: Fingerprint | None = None
    """The inputs, settings and weights that decide the clip; None where they cannot be known."""
    attempt: int = 1
    """Number of this attempt, from 1."""
    error_kind: Kind | None = None
    """One word of the table in `animate.batch.failures`; None unless failed."""
    error: str = ""
    """The fault and the way out, in words."""
    trace: str = ""
    """Traceback of a fault of the program."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time of each stage, `load` (of the model) among them."""
    wall_seconds: float = 0.0
    """From the attempt's beginning to its end."""
    peak_host_bytes: int | None = None
    """The most resident memory of the worker during this job."""
    peak_device_bytes: int | None = None
    """Largest allocation on the accelerator; None on a CPU."""
    model: str = ""
    """Name of the variant that made the clip."""
    size: str = ""
    """Size of the clip, WIDTHxHEIGHT."""
    frames: int | None = None
    """Frames of the clip, or pictures of the series."""
    fps: str = ""
    """Rate of the clip, a fraction."""
    warnings: tuple[str, ...] = ()
    """Remarks on the clip that a person should act on."""
    worker: str = ""
    """The worker that made it."""
    finished: str = ""
    """Time of its end, UTC, ISO 8601."""
    clip: ClipState | None = None
    """Marks of the clip's file; None where there is none of this batch."""
    copied_from: str = ""
    """The output that this is a copy of, since both jobs had one key."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Figures of the clip by measure (docs/evaluation.md); empty where it was not scored."""
    scored_by: str = ""
    """Name of the protocol that they are of."""
    pictures: Pictures = field(default_factory=Pictures)
    """Small pictures for the report."""

    def to_dict(self) -> dict[str, object]:
        """The record as plain JSON values: the key as its digest, and its parts beside it."""
        values: dict[str, object] = plain(asdict(self))
        values["key"] = self.key.digest if self.key else ""
        values["key_parts"] = plain(self.key) if self.key else {}
        return {"schema": SCHEMA, **values}

    def write(self) -> None:
        """Put it at its path, atomically. Raises MediaError."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False)
        try:
            self.record.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.record, text + "\n")
        except OSError as reason:
            raise MediaError(
                f"the record {self.record} cannot be written: {reason.strerror}"
            ) from reason


def read_record(path: Path) -> JobRecord | None:
    """The record in a file; None where there is none, or none that this version can read."""
    try:
        with open_regular(path) as file:
            values = json.loads(file.read(_MOST_BYTES))
        return _record_of(values) if isinstance(values, dict) else None
    except (OSError, ValueError, RecursionError):
        return None


def _former_record(output: Path) -> JobRecord | None:
    """The record that the version before wrote of a clip."""
    record = read_record(former_record_path(output))
    return record if record is not None and record.output == output else None


def _record_of(values: dict[str, object]) -> JobRecord:
    """Raises ValueError for anything but a whole record of this version or the one before."""
    schema = values.pop("schema", None)
    digest, parts = values.pop("key", ""), values.pop("key_parts", None)
    if schema == 1:  # its keys were made of other settings
        values["label"] = values.pop("place", None)
        values["pictures"] = values.get("pictures") or {}
        values["clip"] = values.get("clip") or None
        digest, parts = "", None
    elif schema != SCHEMA:
        raise ValueError(f"layout {schema}")
    key: Fingerprint | None = from_plain(Fingerprint, parts) if parts else None
    if digest != (key.digest if key else ""):
        raise ValueError("the key is not that of its parts")
    return replace(from_plain(JobRecord, values), key=key)


def as_kept(earlier: JobRecord, job: JobRecord) -> JobRecord:
    """An earlier run's record as one of this run: its clip is there and stays."""
    return replace(
        earlier,
        number=job.number,
        label=job.label,
        record=job.record,
        output=job.output,
        request=job.request,
        status="kept",
        why=KEPT,
    )


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

    wanted: bool
    """It is to be done."""
    why: str
    """The reason, in words."""
    foreign: bool = False
    """A file that is not this batch's lies where the clip would go."""
    earlier: JobRecord | None = None
    """The record whose clip is kept; None where the job is wanted."""


def plan_job(products: Products, key: Fingerprint | None, *, overwrite: bool = False) -> Plan:
    """Compare a job with what is there. `key` is None where it cannot be known."""
    earlier = read_record(products.record) or _former_record(products.output)
    return decide(
        earlier,
        key,
        exists=clip_exists(products.output),
        ours=earlier is not None and is_clip_of(earlier, products.output),
        missing=[name for name, file in products.besides.items() if not file.exists()],
        overwrite=overwrite,
    )


def decide(
    earlier: JobRecord | None,
    key: Fingerprint | None,
    *,
    exists: bool,
    ours: bool,
    missing: Sequence[str] = (),
    overwrite: bool = False,
) -> Plan:
    """The decision on a job.

    earlier: its record; None where there is none
    exists, ours: a clip of this name is there; it is the one that the record was written for
    missing: settings whose files beside the clip are gone
    """
    if overwrite:
        return Plan(wanted=True, why="asked to overwrite" if exists or earlier else "new")
    if earlier is None:
        return Plan(wanted=True, why="new", foreign=exists)
    ours = ours or earlier.status == "running"
    again = partial(Plan, wanted=True, foreign=exists and not ours)
    if earlier.status != "done":
        reasons = {"running": "it was interrupted", "waiting": "it waited"}
        return again(why=reasons.get(earlier.status, "it failed before"))
    if not exists:
        return again(why="its clip is gone")
    if not ours:
        return again(why="its clip was changed by somebody else")
    if key is None:
        return again(why="its inputs cannot be read")
    if earlier.key is None:
        return again(why="its record is of another version")
    if earlier.key.digest != key.digest:
        return again(why=f"changed: {key.changes(plain(earlier.key))}")
    for name in missing:
        return again(why=f"its {name.replace('_', ' ')} is gone")
    return Plan(wanted=False, why=KEPT, earlier=earlier)


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
