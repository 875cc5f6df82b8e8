"""From a manifest's file, or from requests, to the jobs of a batch.

Settings come, from weak to strong: `defaults` (a configuration), the manifest's own defaults, the
row, and `overrides` (the command line). Paths of a manifest are relative to its folder; outputs
are relative to the output folder and stay in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animate.batch.jobs import Job, jobs_of_rows
from animate.batch.kinds import KINDS, RowKind, products_of
from animate.batch.paths import with_absolute_paths
from animate.batch.records import USUAL_KIND, Request
from animate.batch.rows import read_sheet
from animate.batch.staging import RemoteOutputs, Staging, make_private
from animate.batch.storage import check_url, fetch_file, is_url, parent_url
from animate.errors import ManifestError, RequestError
from animate.files import real_path
from animate.request.request import AnimationRequest
from animate.request.schema import flat, settings_of
from animate.request.setting import NONE
from animate.request.wording import listed

_LISTED = 20
"""Rows with mistakes that a message names."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A checked manifest."""

    jobs: Sequence[Job]
    """Those to do, in order; rows with mistakes among them if they were to be kept."""
    all_jobs: Sequence[Job]
    """Every job of the file, for the report."""
    absent: Sequence[int] = ()
    """Numbers that were asked for and that it does not have."""
    output_dir: Path
    """Absolute folder of the clips."""
    source: Path
    """The file."""
    remote: RemoteOutputs | None = None
    """The store that clips go to; None for a local folder."""


def load_manifest(
    path: Path | str,
    output_dir: Path | str,
    *,
    staging: Path | None = None,
    staging_limit: int | None = None,
    defaults: Mapping[str, object] | None = None,
    overrides: Mapping[str, object] | None = None,
    roots: Iterable[Path | str] = (),
    name: str | None = None,
    keep_going: bool = False,
    rows: Collection[int] | None = None,
) -> Manifest:
    """Read and check a whole manifest; nothing is written and no media file is opened.

    `defaults` and `overrides` are settings of clips; rows of stills take their `device` and
    `precision` alone. With `roots`, every file that a row names must lie in one of these folders,
    links resolved. `name` is the template of output names (see `animate.batch.paths`). With
    `keep_going`, rows that cannot be used stay as jobs with a mistake. With `rows`, only the jobs
    of these numbers are to be done, and a mistake elsewhere stops nobody; those that the manifest
    does not have are `absent`, which is an error where it has none of them.

    The manifest, `output_dir` and inputs of rows may be URLs (docs/batch.md): each job's files are
    staged below the local folder `staging`, in at most `staging_limit` bytes a job.

    Raises ManifestError naming every row that cannot be used, and why.
    """
    output_url = check_url(str(output_dir), "output_dir") if is_url(output_dir) else ""
    store = Staging(staging, limit=staging_limit, output_url=output_url)
    source, folder_url = _local_manifest(path, store)
    output_dir = store.output_dir if output_url else output_dir
    sheet = read_sheet(source)
    jobs = jobs_of_rows(
        sheet.rows,
        source,
        output_dir,
        staging=store,
        folder_url=folder_url,
        defaults={
            name: {
                **_of_command(kind, defaults or {}),
                **with_absolute_paths(sheet.defaults[name], source.parent, kind.settings),
            }
            for name, kind in KINDS.items()
        },
        overrides={name: _of_command(kind, overrides or {}) for name, kind in KINDS.items()},
        roots=roots,
        name=name or sheet.name,
    )
    if not jobs:
        raise ManifestError(f"manifest {path} has no rows; write at least one")
    chosen = [job for job in jobs if rows is None or job.number in rows]
    # The last task of an array may well ask for more rows than there are.
    absent = sorted(set(rows or ()) - {job.number for job in jobs})
    if not chosen:
        raise ManifestError(f"there is no row {min(absent, default=0)}: {path} has {len(jobs)}")
    if not keep_going:
        _refuse([job for job in chosen if job.mistake], len({job.row for job in chosen}), path)
    return Manifest(
        jobs=chosen,
        all_jobs=jobs,
        absent=absent,
        output_dir=Path(output_dir).absolute(),
        source=source,
        remote=RemoteOutputs(store) if output_url else None,
    )


def _of_command(kind: RowKind[Any], values: Mapping[str, object]) -> dict[str, object]:
    """Settings of the command line or a configuration, which are those of clips, for rows of a
    kind: other kinds take what says how they are computed, where they have it too."""
    by_name = flat(AnimationRequest, values)
    if kind.name != USUAL_KIND:
        known = settings_of(kind.settings)
        by_name = {
            name: value
            for name, value in by_name.items()
            if name in known and known[name].role == "runtime"
        }
    return with_absolute_paths(by_name, Path.cwd(), kind.settings)


def _local_manifest(path: Path | str, store: Staging) -> tuple[Path, str]:
    """The manifest's file here, and the URL of its folder where it is remote."""
    if not is_url(path):
        return Path(path).absolute(), ""
    url = check_url(str(path), "manifest")
    source = store.folder / "manifests" / f"{store.output_dir.name}-{Path(url).name}"
    make_private(source)
    fetch_file(url, source)
    return source, parent_url(url)


def _refuse(wrong: list[Job], count: int, path: Path | str) -> None:
    if not wrong:
        return
    lines = listed([f"  {job.label}: {job.mistake}" for job in wrong], _LISTED, "\n")
    raise ManifestError(
        f"{path}: {len({job.row for job in wrong})} of {count} rows cannot be used, and nothing "
        f"was done:\n{lines}\nCorrect them, or do the others with --keep-going"
    )


def jobs_of(
    requests: Iterable[Request] | Manifest | Path | str, output_dir: Path | str | None
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
    jobs: list[Job] = []
    outputs: dict[Path, int] = {}
    work_folders: dict[Path, int] = {}
    for number, request in enumerate(requests, start=1):
        if not isinstance(request, Request):
            raise RequestError(f"request {number} is a {type(request).__name__}")
        record = products_of(request).record
        owner = outputs.setdefault(record.absolute(), number)
        if owner != number:
            raise RequestError(
                f"request {number}: output {request.output} is that of request {owner} as well"
            )
        _check_work_folder(request, number, work_folders)
        jobs.append(Job(number=number, label=f"request {number}", record=record, request=request))
    if not jobs:
        raise RequestError("there are no requests; give at least one")
    return jobs


def _check_work_folder(request: Request, number: int, owners: dict[Path, int]) -> None:
    """Raise RequestError for a work folder of an earlier request: its work would be lost."""
    folder = request.runtime.work if isinstance(request, AnimationRequest) else None
    if folder is None or folder == NONE:
        return
    owner = owners.setdefault(real_path(folder), number)
    if owner != number:
        raise RequestError(
            f"request {number}: the work folder {folder} is that of request {owner} as well; give "
            "each its own, or leave it out: then it is beside the clip"
        )
