"""The queue of clips. Its records are a batch's, beside the clips: they are what a restart finds.

A clip that waits has a record that says so; one that was stopped waits with that as its reason; one
whose program was killed is still said to run, and is begun again where its work folder left off.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from animate.batch.failures import failure_of
from animate.batch.jobs import Job
from animate.batch.manifest import Manifest
from animate.batch.paths import RECORD_SUFFIX, record_path
from animate.batch.records import JobRecord, read_record
from animate.batch.runner import run_batch
from animate.batch.tasks import PreviewMessage
from animate.clip.record import sidecar_path
from animate.errors import RequestError, UserError
from animate.request.request import AnimationRequest
from animate.request.schema import plain
from animate.studio.forms import changed_settings
from animate.studio.jobs import JobProcess
from animate.studio.project import MissingError, OutsideError, Project
from animate.studio.tasks import Pace, Status
from animate.studio.worker import HeldWorker, StoppedError, start_clips

STOPPED = "stopped by hand"
_IDLE_SECONDS = 300.0
"""Time after which an idle worker gives back its memory."""
_MOST_WAITING = 200


@dataclass(frozen=True, kw_only=True)
class ClipView:
    """A clip of the queue, as pages show it."""

    name: str
    """Name of its record, by which it is stopped and resumed."""
    number: int
    output: str
    status: Status
    stage: str
    done: int
    total: int | None
    part: float
    """Part of the work that is done, in [0,1]."""
    seconds_left: float | None
    error: str
    warnings: tuple[str, ...]
    frames: int | None
    fps: str
    size: str
    model: str
    wall_seconds: float
    memory: int | None
    scores: Mapping[str, float]
    preview: int
    """Number of the newest picture of the unfinished clip; 0 where there is none."""
    pictures: int
    """Number of small pictures of its frames; see `ClipQueue.picture`."""
    settings: Mapping[str, object]
    """Settings as given, by flat names, files by their names in the project."""


class ClipQueue:
    """Makes the clips of a project one after another, in a worker process."""

    def __init__(self, project: Project, on_change: Callable[[], None]) -> None:
        """`on_change` is called from any thread whenever `views` would say something else."""
        self._project, self._on_change = project, on_change
        self._process = JobProcess("clips", start_clips, self, idle_seconds=_IDLE_SECONDS)
        self._news = self._process.news
        self._jobs: dict[Path, JobRecord] = {}
        self._preview: tuple[int, bytes] = (0, b"")

    def start(self) -> None:
        """Find the records of the folder, and go on with what waits."""
        self.find()
        self._process.start()

    def find(self) -> None:
        """Take in the records that lie in the folder."""
        for path in sorted(self._project.root.rglob(f"*{RECORD_SUFFIX}")):
            record = None if path.is_symlink() else read_record(path)
            if record is not None and record.output is not None:
                self._jobs[path] = replace(record, record=path)

    def close(self) -> None:
        """Stop at once; a clip in the making goes on when a studio starts again."""
        self._process.close()

    def records(self) -> list[JobRecord]:
        """All records, by number."""
        with self._news:
            return sorted(self._jobs.values(), key=lambda record: record.number)

    def views(self) -> list[ClipView]:
        """All clips, the newest first."""
        return [self._view(record) for record in reversed(self.records())]

    def submit(self, requests: list[AnimationRequest]) -> list[str]:
        """Queue clips; the names of their records. Raises RequestError where too many wait, or
        a record cannot be written."""
        with self._news:
            waiting = sum(record.status == "waiting" for record in self._jobs.values())
            if waiting + len(requests) > _MOST_WAITING:
                raise RequestError(f"{_MOST_WAITING} clips at most may wait; let some be made")
            number = max((record.number for record in self._jobs.values()), default=0)
            names = []
            for request in requests:
                number += 1
                record = JobRecord(
                    number=number,
                    label=f"clip {number}",
                    status="waiting",
                    why="new",
                    record=record_path(request.output),
                    output=request.output,
                    request=plain(request),
                )
                request.output.parent.mkdir(parents=True, exist_ok=True)
                self._register(record)
                names.append(self._project.name(record.record))
            self._news.notify_all()
        self._on_change()
        return names

    def stop(self, name: str) -> None:
        """Stop a clip that runs or waits; it can go on later. Raises RequestError for others."""
        with self._news:
            record = self._record(name)
            if self._process.stop(record.record):
                return
            if record.status != "waiting":
                raise RequestError(f"{name} neither runs nor waits")
            self._register(replace(record, why=STOPPED))
        self._on_change()

    def resume(self, name: str) -> None:
        """Let a clip that was stopped or failed wait for its turn. Raises RequestError."""
        with self._news:
            record = self._record(name)
            if record.record == self._process.running or record.status in ("done", "kept"):
                raise RequestError(f"{name} is made already, or is being made")
            self._register(
                replace(record, status="waiting", why="again", error="", error_kind=None)
            )
            self._news.notify_all()
        self._on_change()

    def remove(self, name: str) -> None:
        """Take a clip off the list that is not there; files of one that is stay, and so does it.

        Raises RequestError for one that runs or is done.
        """
        with self._news:
            record = self._record(name)
            if record.record == self._process.running or record.status in ("done", "kept"):
                raise RequestError(f"{name} is being made or is there; stop it, or move its files")
            with suppress(OSError):
                record.record.unlink()
            del self._jobs[record.record]
        self._on_change()

    def _record(self, name: str) -> JobRecord:
        path = self._project.path(name)
        if path not in self._jobs:
            raise MissingError(f"there is no clip {name} in the queue")
        return self._jobs[path]

    def _register(self, record: JobRecord) -> None:
        record.write()
        self._jobs[record.record] = record

    def next_job(self) -> Path | None:
        """See `JobQueue`: what was running when its studio ended comes first."""
        waiting = [r for r in self._jobs.values() if self._status(r) == "waiting"]
        if not waiting:
            return None
        record = min(waiting, key=lambda r: (r.status != "running", r.number))
        self._preview = (self._preview[0], b"")
        return record.record

    def do(self, job: Path, worker: HeldWorker) -> None:
        """See `JobQueue`."""
        record = self._jobs[job]
        try:
            request = AnimationRequest.from_dict(dict(record.request))
            ended = self._run(record, request, worker)
        except StoppedError:
            if self._process.closing:  # its record says that it runs: the next studio goes on
                return
            ended = replace(record, status="waiting", why=STOPPED)
        except Exception as error:
            failure = failure_of(error)
            ended = replace(record, status="failed", error_kind=failure.kind, error=failure.message)
        with self._news:
            with suppress(UserError):  # a full disk: it is shown, and tried again
                ended.write()
            self._jobs[ended.record] = ended

    def changed(self) -> None:
        """See `JobQueue`."""
        self._on_change()

    def _run(self, record: JobRecord, request: AnimationRequest, worker: HeldWorker) -> JobRecord:
        """Make a clip as a batch of one does."""
        job = Job(number=record.number, label=record.label, record=record.record, request=request)
        manifest = Manifest(
            jobs=[job], all_jobs=[job], output_dir=self._project.root, source=self._project.root
        )
        [ended] = run_batch(manifest, executor=worker, retries=1)
        return ended

    def receive(self, message: Any) -> None:
        """See `JobQueue`: pictures of the clip that is being made."""
        if isinstance(message, PreviewMessage):
            with self._news:
                self._preview = (self._preview[0] + 1, message.jpeg)
            self._on_change()

    def _status(self, record: JobRecord) -> Status:
        if record.record == self._process.running:
            return "running"
        if record.status in ("waiting", "running"):
            return "stopped" if record.why == STOPPED else "waiting"
        return "failed" if record.status == "failed" else "done"

    def _view(self, record: JobRecord) -> ClipView:
        status = self._status(record)
        pace = self._process.pace(record.record)
        active = pace is not None
        pace = pace or Pace()
        assert record.output is not None
        return ClipView(
            name=self._project.name(record.record),
            number=record.number,
            output=self._project.name(record.output),
            status=status,
            stage=pace.stage,
            done=pace.done,
            total=pace.total,
            part=pace.part,
            seconds_left=pace.seconds_left,
            error=record.error,
            warnings=record.warnings,
            frames=record.frames,
            fps=record.fps,
            size=record.size,
            model=record.model,
            wall_seconds=record.wall_seconds,
            memory=record.peak_device_bytes or record.peak_host_bytes,
            scores=record.scores,
            preview=self._preview[0] if active and self._preview[1] else 0,
            pictures=len(record.pictures.results),
            settings=self._settings(record),
        )

    def _settings(self, record: JobRecord) -> dict[str, object]:
        try:
            request = AnimationRequest.from_dict(dict(record.request))
        except UserError:  # of another version
            return {}
        return changed_settings(self._project, request)

    def preview(self) -> bytes:
        """The newest JPEG of the clip that is being made. Raises MissingError without one."""
        with self._news:
            if not self._preview[1]:
                raise MissingError("there is no picture of an unfinished clip")
            return self._preview[1]

    def picture(self, name: str, number: int) -> bytes:
        """A small JPEG of a clip's frames, from first to last. Raises MissingError."""
        with self._news:
            pictures = self._record(name).pictures.results
        if not 0 <= number < len(pictures):
            raise MissingError(f"{name} has no picture {number}")
        return base64.b64decode(pictures[number])


def clip_files(project: Project, clip: Path) -> dict[str, str]:
    """Names of the files of a clip that are there: itself, its record, the poses it followed."""
    files = {"clip": clip, "settings": sidecar_path(clip)}
    record = read_record(record_path(clip))
    if record is not None and (poses := record.request.get("poses")):
        files["poses"] = Path(str(poses))
    names = {}
    for word, path in files.items():
        with suppress(OutsideError):
            if path.is_file():
                names[word] = project.name(path)
    return names
