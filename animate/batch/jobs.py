"""Which jobs a run has, and in what order they come."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from animate.batch.manifest import Job, Manifest, load_manifest
from animate.batch.paths import record_path
from animate.clip.work_folder import OFF
from animate.errors import RequestError
from animate.request.request import AnimationRequest


def jobs_of(
    requests: Iterable[AnimationRequest] | Manifest | Path | str, output_dir: Path | str | None
) -> list[Job]:
    """The jobs that requests, a manifest's file or a manifest stand for.

    `output_dir` is for a manifest's file alone. Raises RequestError, or ManifestError of the file.
    """
    if isinstance(requests, (str, Path)):
        if output_dir is None:
            raise RequestError("a manifest needs an output_dir that its clips go to")
        requests = load_manifest(requests, output_dir)
    elif output_dir is not None:
        raise RequestError("output_dir is for a manifest's file; requests name their outputs")
    if isinstance(requests, Manifest):
        return list(requests.jobs)
    found: list[Job] = []
    taken: dict[Path, int] = {}
    working: dict[Path, int] = {}
    for number, request in enumerate(requests, start=1):
        if not isinstance(request, AnimationRequest):
            raise RequestError(f"request {number} is a {type(request).__name__}")
        record = record_path(request.output)
        other = taken.setdefault(record.absolute(), number)
        if other != number:
            raise RequestError(
                f"request {number}: output {request.output} is that of request {other} as well, or "
                "their records would have one name"
            )
        _check_own_work(request, number, working)
        found.append(Job(number=number, place=f"request {number}", record=record, request=request))
    if not found:
        raise RequestError("there are no requests; give at least one")
    return found


def _check_own_work(request: AnimationRequest, number: int, working: dict[Path, int]) -> None:
    """Raise RequestError for a work folder of an earlier request: its work would be lost."""
    folder = request.runtime.work
    if folder is None or folder == OFF:
        return
    other = working.setdefault(folder.resolve(), number)
    if other != number:
        raise RequestError(
            f"request {number}: the work folder {folder} is that of request {other} as well; give "
            "each its own, or leave it out: then it is beside the clip"
        )


def sorted_jobs(jobs: Iterable[Job]) -> list[Job]:
    """By what is loaded for them: model, then size, driving video and reference."""
    return sorted(jobs, key=_loads)


def _loads(job: Job) -> tuple[str, ...]:
    request = job.request
    if request is None:
        return ()
    runtime = request.runtime
    device = f"{runtime.device} {runtime.precision}"
    files = (str(request.driving), str(request.reference))
    return request.model, device, str(request.size), *files, f"{job.number:09}"
