"""What is kept of a job: `clip.job.json` beside `clip.mp4`, written last and whole.

A record that says `done`, has the job's key and fits the clip that lies there is the completion
marker. While a job runs its record says `running`, so that what a killed program leaves is known
for the batch's own and made again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from animate.batch.failures import Kind
from animate.batch.keys import Key
from animate.batch.paths import BESIDES
from animate.errors import MediaError
from animate.files import is_sequence, sha256, write_text
from animate.request.request import AnimationRequest
from animate.request.schema import plain

SCHEMA = 1
KEPT = "its clip is as it was made"
Status = Literal["done", "kept", "failed", "running"]


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """What became of one job.

    Attributes:
        number: of the job in its batch, from 1.
        place: where it stands: "row 3 (line 4)".
        status: done; kept (an earlier run had made it); failed; running.
        why: why it was done or kept: "new", "steps 4 -> 8", "its clip is as it was made".
        output: the clip; None for a row that names none.
        record: the file that this is kept in.
        request: every setting as given.
        key: digest of what decides the clip; empty where it cannot be known.
        key_parts: inputs, settings and weights that the key is made of.
        attempt: which attempt this is, from 1.
        error_kind: one word of the table in `animate.batch.failures`; None unless failed.
        error: what was wrong and what to do, in words.
        trace: where a fault of the program happened.
        seconds: wall time of each stage, `load` (of the model) among them.
        wall_seconds: from the attempt's beginning to its end.
        peak_host_bytes: the most resident memory of the worker during this job.
        peak_device_bytes: largest allocation on the accelerator; None on a CPU.
        model, size, frames, fps: of the clip.
        warnings: what a person should know about the clip.
        worker: who made it.
        finished: when, UTC, ISO 8601.
        clip: size, time and SHA-256 of the clip's file.
        copied_from: the output that this is a copy of, since both jobs had one key.
        pictures: JPEGs of the report (base64) by name: reference, driving, pose, results.
    """

    number: int
    place: str
    status: Status
    record: Path
    output: Path | None = None
    why: str = ""
    request: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    key_parts: Mapping[str, Any] = field(default_factory=dict)
    attempt: int = 1
    error_kind: Kind | None = None
    error: str = ""
    trace: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    wall_seconds: float = 0.0
    peak_host_bytes: int | None = None
    peak_device_bytes: int | None = None
    model: str = ""
    size: str = ""
    frames: int | None = None
    fps: str = ""
    warnings: tuple[str, ...] = ()
    worker: str = ""
    finished: str = ""
    clip: Mapping[str, Any] = field(default_factory=dict)
    copied_from: str = ""
    pictures: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"schema": SCHEMA, **plain(asdict(self))}

    def write(self) -> None:
        """Put it at its place, atomically. Raises MediaError."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False)
        try:
            self.record.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.record, text + "\n")
        except OSError as reason:
            raise MediaError(
                f"the record {self.record} cannot be written: {reason.strerror}"
            ) from reason


def read_record(path: Path) -> dict[str, Any] | None:
    """A record's values; None where there is none, or none that this version can read."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) and values.get("schema") == SCHEMA else None


def as_kept(values: Mapping[str, Any], job: JobRecord) -> JobRecord:
    """An earlier run's record as one of this run: its clip is there and stays."""
    names = set(JobRecord.__dataclass_fields__) - {"number", "place", "record", "output", "request"}
    old = {name: value for name, value in values.items() if name in names}
    old["warnings"] = tuple(old.get("warnings") or ())
    kept = replace(job, **old)
    return replace(kept, status="kept", why=KEPT)


def clip_state(output: Path) -> dict[str, Any]:
    """What tells a finished clip from another: bytes, time and SHA-256; empty where there is none.

    Of numbered images only their number and bytes.
    """
    if is_sequence(output):
        found = existing(output)
        size = sum(file.stat().st_size for file in found)
        return {"files": len(found), "bytes": size} if found else {}
    if not output.is_file():
        return {}
    state = output.stat()
    return {"bytes": state.st_size, "mtime_ns": state.st_mtime_ns, "sha256": sha256(output)}


def existing(output: Path) -> list[Path]:
    """The files that a clip of this name consists of, so far as they are there."""
    if not is_sequence(output):
        return [output] if output.exists() else []
    from animate.media.sequences import sequence_files

    return sequence_files(output)


def is_clip_of(values: Mapping[str, Any], output: Path) -> bool:
    """Whether what lies at `output` is what the record was written for.

    Read only where its time has changed, as after copying a folder.
    """
    stated = values.get("clip") or {}
    if is_sequence(output):
        return bool(stated) and clip_state(output) == stated
    try:
        state = output.stat()
    except OSError:
        return False
    if state.st_size != stated.get("bytes"):
        return False
    return state.st_mtime_ns == stated.get("mtime_ns") or sha256(output) == stated.get("sha256")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Whether a job is to be done.

    Attributes:
        wanted: whether it is.
        why: the reason, in words.
        foreign: whether a file that is not this batch's lies where the clip would go.
        kept: the earlier record.
    """

    wanted: bool
    why: str
    foreign: bool = False
    kept: Mapping[str, Any] = field(default_factory=dict)


def plan_job(
    record: Path, request: AnimationRequest, key: Key | None, *, overwrite: bool = False
) -> Plan:
    """Compare a job with what is there. `key` is None where it cannot be known."""
    output, overwrite = request.output, overwrite or request.overwrite
    kept = read_record(record)
    there = bool(existing(output))
    if overwrite:
        return Plan(wanted=True, why="asked to overwrite" if there or kept else "new")
    if kept is None:
        return Plan(wanted=True, why="new", foreign=there)
    ours = kept.get("status") == "running" or is_clip_of(kept, output)
    again = partial(Plan, wanted=True, foreign=there and not ours)
    if kept.get("status") != "done":
        interrupted = kept.get("status") == "running"
        return again(why="it was interrupted" if interrupted else "it failed before")
    if not there:
        return again(why="its clip is gone")
    if not ours:
        return again(why="its clip was changed by somebody else")
    if key is None:
        return again(why="its inputs cannot be read")
    if kept.get("key") != key.digest:
        return again(why=f"changed: {key.changes(kept.get('key_parts') or {})}")
    for name in BESIDES:
        if (file := getattr(request, name)) and not file.exists():
            return again(why=f"its {name.replace('_', ' ')} is gone")
    return Plan(wanted=False, why=KEPT, kept=kept)
