"""From a manifest, or from requests, to jobs: every row a request, checked before any work.

Settings come, from weak to strong: `defaults` (a configuration), the manifest's own defaults, the
row, and `overrides` (the command line). Paths of a manifest are relative to its folder; outputs
are relative to the output folder and stay in it.
"""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from glob import glob, has_magic
from itertools import product
from pathlib import Path
from typing import Any

from animate.batch.paths import (
    USUAL_NAME,
    OutputFolder,
    check_inside,
    check_template,
    fill_template,
    look_again,
    lost_record,
    record_path,
    template_values,
    with_absolute_paths,
    work_name,
)
from animate.batch.rows import Row, read_sheet
from animate.batch.staging import JobFiles, RemoteOutputs, Staging
from animate.batch.storage import (
    check_url,
    fetch_file,
    is_url,
    join_url,
    parent_url,
    remote_matches,
)
from animate.clip.record import record_paths
from animate.errors import ManifestError, RequestError, UserError
from animate.request.request import AnimationRequest
from animate.request.schema import NONE, flat, plain, settings_of
from animate.request.values import check_text
from animate.request.wording import listed

_BESIDES = {
    setting.name
    for setting in settings_of(AnimationRequest).values()
    if setting.role == "output" and setting.holds_paths and setting.name != "output"
}
"""Settings of files that are written beside a clip; in a manifest, below the output folder."""
_MOST_OF_A_ROW = 100_000
_LISTED = 20
"""Rows with mistakes that a message names."""
_MANY = ("reference", "driving", "seed")
"""Settings that a row may give several values of."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One clip of a batch."""

    number: int
    """From 1, in the manifest's order, combinations counted; what `--rows` names."""
    label: str
    """The row's position, for messages: "row 3 (line 4)"."""
    record: Path
    """The file of its record, beside the clip; of a row without a clip, by its number."""
    lost_in: Path | None = None
    """Folder of the record of this row from an earlier run in which it could not be used."""
    request: AnimationRequest | None = None
    """The clip to make; None where the row cannot be used."""
    mistake: str = ""
    """The reason why the row cannot be used."""
    files: JobFiles | None = None
    """Files that lie in a store, by the paths that the request names; None where all are here."""

    @property
    def lost(self) -> Path | None:
        """The record of this row from an earlier run in which it could not be used."""
        return None if self.lost_in is None else lost_record(self.lost_in, self.number)


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
    defaults: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    roots: Iterable[Path | str] = (),
    name: str | None = None,
    keep_going: bool = False,
    rows: Collection[int] | None = None,
) -> Manifest:
    """Read and check a whole manifest; nothing is written and no media file is opened.

    With `roots`, every file that a row names must lie in one of these folders, links resolved.
    `name` is the template of output names (see `animate.batch.paths`). With `keep_going`, rows
    that cannot be used stay as jobs with a mistake. With `rows`, only the jobs of these numbers are
    to be done, and a mistake elsewhere stops nobody; those that the manifest does not have are
    `absent`, which is an error where it has none of them.

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
            **with_absolute_paths(flat(AnimationRequest, defaults or {}), Path.cwd()),
            **with_absolute_paths(sheet.defaults, source.parent),
        },
        overrides=with_absolute_paths(flat(AnimationRequest, overrides or {}), Path.cwd()),
        roots=roots,
        name=name or sheet.name or USUAL_NAME,
    )
    if not jobs:
        raise ManifestError(f"manifest {path} has no rows; write at least one")
    chosen = [job for job in jobs if rows is None or job.number in rows]
    # The last task of an array may well ask for more rows than there are.
    absent = sorted(set(rows or ()) - {job.number for job in jobs})
    if not chosen:
        raise ManifestError(f"there is no row {min(absent, default=0)}: {path} has {len(jobs)}")
    if not keep_going:
        _refuse([job for job in chosen if job.mistake], len(chosen), path)
    return Manifest(
        jobs=chosen,
        all_jobs=jobs,
        absent=absent,
        output_dir=Path(output_dir).absolute(),
        source=source,
        remote=RemoteOutputs(store) if output_url else None,
    )


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Within, Python looks for no cycles: there are none in 100,000 rows, and each look at all of
    them takes longer than the one before."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _local_manifest(path: Path | str, store: Staging) -> tuple[Path, str]:
    """The manifest's file here, and the URL of its folder where it is remote."""
    if not is_url(path):
        return Path(path).absolute(), ""
    url = check_url(str(path), "manifest")
    source = store.folder / "manifests" / f"{store.output_dir.name}-{Path(url).name}"
    fetch_file(url, source)
    return source, parent_url(url)


def jobs_of_rows(
    rows: Iterable[Row],
    source: Path,
    output_dir: Path | str,
    *,
    defaults: Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    roots: Iterable[Path | str] = (),
    name: str = USUAL_NAME,
    staging: Staging | None = None,
    folder_url: str = "",
) -> list[Job]:
    """A job for each row; one that cannot be used has a mistake. Paths of a row are relative to
    the folder of `source`, which no row may read as an input or write."""
    look_again()
    reader = _Reader(
        folder=source.parent,
        output_dir=Path(output_dir).absolute(),
        # As text, since patterns and templates may be among them, as in rows.
        defaults=plain(defaults),
        overrides=plain(overrides or {}),
        roots=tuple(Path(root).resolve() for root in roots),
        name=check_template(name),
        owners={str(source): "the manifest"},
        staging=staging or Staging(),
        folder_url=folder_url,
    )
    with _nothing_collected():
        return reader.jobs(rows)


def _refuse(wrong: list[Job], count: int, path: Path | str) -> None:
    if not wrong:
        return
    lines = listed([f"  {job.label}: {job.mistake}" for job in wrong], _LISTED, "\n")
    raise ManifestError(
        f"{path}: {len(wrong)} of {count} rows cannot be used, and nothing was done:\n"
        f"{lines}\nCorrect them, or do the others with --keep-going"
    )


@dataclass(kw_only=True)
class _Reader:
    """Makes jobs of rows, and knows which row owns which output."""

    folder: Path
    output_dir: Path
    defaults: Mapping[str, Any]
    overrides: Mapping[str, Any]
    roots: tuple[Path, ...]
    name: str
    owners: dict[str, str]
    """Label of the row that writes a file, by the file's path: clips, files beside them, and the
    batch's records."""
    staging: Staging
    folder_url: str

    def __post_init__(self) -> None:
        self.outputs = OutputFolder(self.output_dir)
        self.sidecars: dict[str, str] = {}
        """The same of clips' own records; which of its two names a clip takes is seen when it is
        made."""

    def jobs(self, rows: Iterable[Row]) -> list[Job]:
        jobs: list[Job] = []
        for row in rows:
            for values, mistake in self._combinations(row):
                jobs.append(self._job(len(jobs) + 1, row, values, mistake))
        return [self._without_input_as_output(job) for job in jobs]

    def _combinations(self, row: Row) -> Iterator[tuple[dict[str, Any], str]]:
        if row.mistake:
            yield {}, row.mistake
            return
        try:
            settings = {**self.defaults, **row.values, **self.overrides}
            base = self.folder_url or self.folder
            yield from [(values, "") for values in expand(settings, base)]
        except RequestError as mistake:
            yield {}, str(mistake)

    def _job(self, number: int, row: Row, values: dict[str, Any], mistake: str) -> Job:
        label = row.label if row.number == number else f"{row.label}, job {number}"
        if mistake:
            return self._without_request(number, label, mistake)
        try:
            named = template_values(number, values)
            values, files = self.staging.job_files(number, values, self.folder_url)
            self._check_urls(files)
            request = self._request(named, values)
            files = self.staging.with_outputs(files, request)
            record = record_path(request.output)
            self._claim(request, record, label, files)
        except UserError as reason:
            return self._without_request(number, label, str(reason))
        return Job(
            number=number,
            label=label,
            record=record,
            lost_in=self.output_dir,
            request=request,
            files=files,
        )

    def _without_request(self, number: int, label: str, mistake: str) -> Job:
        record = lost_record(self.output_dir, number)
        return Job(number=number, label=label, record=record, mistake=mistake)

    def _check_urls(self, files: JobFiles | None) -> None:
        """Raise RequestError for remote files where files must lie in given folders."""
        if files is not None and self.roots and (files.inputs or files.models):
            url = next(iter([*files.inputs.values(), *files.models.values()]))
            raise RequestError(f"{url} lies outside the allowed --root, which is a local folder")

    def _request(self, named: Mapping[str, object], values: dict[str, Any]) -> AnimationRequest:
        settings_of(AnimationRequest)["model"].read(values.get("model"))
        name = values.pop("output", None) or fill_template(self.name, named)
        output = self.outputs.output(name)
        settings = with_absolute_paths(values, self.folder)
        for beside in _BESIDES & settings.keys():
            if settings[beside]:
                settings[beside] = self.outputs.output(fill_template(settings[beside], named))
        request = AnimationRequest.from_dict({**settings, "output": output})
        check_inside(request, self.roots)
        if (work := request.runtime.work) in (None, NONE):
            return request
        own = work / work_name(output, self.output_dir)
        return replace(request, runtime=replace(request.runtime, work=own))

    def _claim(
        self, request: AnimationRequest, record: Path, label: str, remote: JobFiles | None
    ) -> None:
        """Note a clip's files. Raises RequestError where another row has one of them, or where it
        is a remote input."""
        output = request.output
        if remote is not None:
            written = set(remote.inputs.values()) & set(remote.outputs.values())
            if written:
                raise RequestError(f"{written.pop()} is an input and would be written over")
        files = {str(output): "output", str(record): "record"}
        files |= {str(file): "file" for file in request.besides().values()}
        sidecars = [str(path) for path in record_paths(output)]
        for file, role in (*files.items(), *((sidecar, "record") for sidecar in sidecars)):
            other = self.owners.get(file)
            if role != "record":
                other = other or self.sidecars.get(file)
            if other:
                of = "" if role == "output" else f" {os.path.basename(file)} of output"
                raise RequestError(
                    f"{role}{of} {output.relative_to(self.output_dir)} is that of {other} as well; "
                    "give each its own output, or a --name with {row} or {seed}"
                )
        self.owners |= dict.fromkeys(files, label)
        self.sidecars |= dict.fromkeys(sidecars, label)

    def _without_input_as_output(self, job: Job) -> Job:
        """The job, or one with a mistake where it would read what another writes."""
        request = job.request
        for _, file in request.paths("input", "place") if request else ():
            if owner := self.owners.get(str(file)) or self.sidecars.get(str(file)):
                mistake = f"input {file} is also what {owner} would write"
                return self._without_request(job.number, job.label, mistake)
        return job


def expand(values: Mapping[str, Any], folder: Path | str) -> Iterator[dict[str, Any]]:
    """Every combination of the lists that a row gives for reference, driving and seed.

    `folder` is a local one or a URL. A path with `*` or `?` stands for the files below `folder`
    that it fits, by name. `poses` may name `{driving}`. Raises RequestError for an empty list and a
    pattern that fits nothing.
    """
    several = [name for name in _MANY if _may_be_several(values.get(name))]
    for name in _MANY:
        if name not in several:
            _check_choice(name, values.get(name))
    choices = [[(name, value) for value in _choices(name, values, folder)] for name in several]
    if (count := math.prod(map(len, choices))) > _MOST_OF_A_ROW:
        raise RequestError(f"the lists of this row make {count:,} clips; write several rows")
    for combination in product(*choices):
        row = {**values, **dict(combination)}
        if isinstance(poses := row.get("poses"), str) and "{" in poses:
            row["poses"] = fill_template(poses, {"driving": template_values(0, row)["driving"]})
        yield row


def _choices(name: str, values: Mapping[str, Any], folder: Path | str) -> list[Any]:
    value = values.get(name)
    if isinstance(value, list) and not value:
        raise RequestError(f"{name} is an empty list; give at least one")
    choices: list[Any] = []
    for item in value if isinstance(value, list) else [value]:
        _check_choice(name, item)
        if name == "seed" or not isinstance(item, str) or not has_magic(item):
            choices.append(item)
            continue
        files = _matches(item, folder)
        if not files:
            raise RequestError(f"{name} {item!r} fits no file in {folder}")
        choices += files
    return choices


def _may_be_several(value: object) -> bool:
    return isinstance(value, list) or (isinstance(value, str) and has_magic(value))


def _check_choice(name: str, value: Any) -> None:
    if isinstance(value, str):
        check_text(value, name)
    elif value is not None:
        settings_of(AnimationRequest)[name].read(value)


def _matches(pattern: str, folder: Path | str) -> list[str]:
    """The files that a pattern fits; the pattern itself where a file is really called so."""
    if is_url(pattern) or isinstance(folder, str):
        return remote_matches(check_url(join_url(str(folder), pattern), "pattern"))
    return [pattern] if (folder / pattern).exists() else sorted(glob(pattern, root_dir=folder))


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
    jobs: list[Job] = []
    outputs: dict[Path, int] = {}
    work_folders: dict[Path, int] = {}
    for number, request in enumerate(requests, start=1):
        if not isinstance(request, AnimationRequest):
            raise RequestError(f"request {number} is a {type(request).__name__}")
        record = record_path(request.output)
        other = outputs.setdefault(record.absolute(), number)
        if other != number:
            raise RequestError(
                f"request {number}: output {request.output} is that of request {other} as well"
            )
        _check_work_folder(request, number, work_folders)
        jobs.append(Job(number=number, label=f"request {number}", record=record, request=request))
    if not jobs:
        raise RequestError("there are no requests; give at least one")
    return jobs


def _check_work_folder(request: AnimationRequest, number: int, owners: dict[Path, int]) -> None:
    """Raise RequestError for a work folder of an earlier request: its work would be lost."""
    folder = request.runtime.work
    if folder is None or folder == NONE:
        return
    other = owners.setdefault(folder.resolve(), number)
    if other != number:
        raise RequestError(
            f"request {number}: the work folder {folder} is that of request {other} as well; give "
            "each its own, or leave it out: then it is beside the clip"
        )


def sorted_jobs(jobs: Iterable[Job]) -> list[Job]:
    """Jobs by what is loaded for them: model, then size, driving video and reference."""
    return sorted(jobs, key=_loading_order)


def _loading_order(job: Job) -> tuple[str, ...]:
    request = job.request
    if request is None:
        return ()
    runtime = request.runtime
    device = f"{runtime.device} {runtime.precision}"
    files = (str(request.driving), str(request.reference))
    return request.model, device, str(request.size), *files, f"{job.number:09}"
