"""Records of jobs: `clip.mp4.job.json` beside `clip.mp4`, written last and whole.

A record that says `done`, has the job's key and fits the clip that lies there is the completion
marker. While a job runs its record says `running`, so that what a killed program leaves is known
for the batch's own and made again. A record that does not read as one of these, to the type of
every field, counts as none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from animate.batch.failures import Kind
from animate.clip.fingerprint import Fingerprint
from animate.clip.typed_json import from_plain
from animate.errors import MediaError
from animate.files import open_regular, write_text
from animate.request.request import AnimationRequest
from animate.request.schema import plain
from animate.request.still import StillRequest

SCHEMA = 2
KEPT = "its clip is as it was made"
Status = Literal["done", "kept", "failed", "running", "waiting"]
_MOST_BYTES = 16 << 20


Request = AnimationRequest | StillRequest
"""One job's settings."""
USUAL_KIND = "clip"
"""Kind of rows that name none."""


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
    """Digest of the file's content."""
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
class Products:
    """The files that a job leaves."""

    output: Path
    """The clip or picture; of numbered images their pattern."""
    record: Path
    """The batch's record."""
    files: tuple[Path, ...]
    """Every file by its own name, but for records and what stands in `besides`."""
    besides: Mapping[str, Path] = field(default_factory=dict)
    """Files that are written beside the output, by the name of their setting."""
    sidecars: tuple[Path, ...] = ()
    """Paths that the output's own record may have."""


@dataclass(frozen=True, kw_only=True)
class JobOutcome:
    """The clip or pictures of a job, and what making them took."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time of each stage, `load` (of the model) among them."""
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
    pictures: Pictures = field(default_factory=Pictures)
    """Small pictures for the report."""
    clip: ClipState | None = None
    """Marks of the clip's file; None where there is none of this batch."""


@dataclass(frozen=True, kw_only=True)
class JobRecord(JobOutcome):
    """The state of one job and what came of it, side by side, as its file and programs have it."""

    number: int
    """Number of the job in its batch, from 1."""
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
    wall_seconds: float = 0.0
    """From the attempt's beginning to its end."""
    worker: str = ""
    """The worker that made it."""
    finished: str = ""
    """Time of its end, UTC, ISO 8601."""
    copied_from: str = ""
    """The output that this is a copy of, since both jobs had one key."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Figures of the clip by measure (docs/evaluation.md); empty where it was not scored."""
    scored_by: str = ""
    """Name of the protocol that they are of."""

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
            write_text(self.record, text + "\n", follow=False)
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
