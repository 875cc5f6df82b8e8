"""From rows to jobs: every row a request with outputs of its own, checked before any work."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from animate.batch.combinations import expand
from animate.batch.kinds import RowKind, check_inside, kind_of
from animate.batch.paths import (
    OutputFolder,
    check_template,
    fill_template,
    look_again,
    lost_record,
    with_absolute_paths,
    work_name,
)
from animate.batch.records import Products, Request
from animate.batch.rows import Row
from animate.batch.staging import JobFiles, Staging
from animate.batch.storage import is_url
from animate.errors import RequestError, UserError
from animate.files import real_path
from animate.request.request import AnimationRequest
from animate.request.schema import plain, settings_of
from animate.request.setting import NONE

SettingsOfKinds = Mapping[str, Mapping[str, object]]
"""Settings by flat names, for rows of each kind."""
_BESIDES = {
    setting.name
    for setting in settings_of(AnimationRequest).values()
    if setting.role == "output" and setting.holds_paths and setting.name != "output"
}
"""Settings of files that are written beside a clip; in a manifest, below the output folder."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One clip of a batch, or one series of stills."""

    number: int
    """From 1, in the manifest's order, combinations counted; what `--rows` names."""
    label: str
    """The row's position, for messages: "row 3 (line 4)"."""
    row: int = 1
    """Number of its row, from 1; several jobs have one row where that stands for combinations."""
    record: Path
    """The file of its record, beside the clip; of a row without one, by its number."""
    lost_in: Path | None = None
    """Folder of the record of this row from an earlier run in which it could not be used."""
    request: Request | None = None
    """The clip or stills to make; None where the row cannot be used."""
    mistake: str = ""
    """The reason why the row cannot be used."""
    files: JobFiles | None = None
    """Files that lie in a store, by the paths that the request names; None where all are here."""

    @property
    def lost(self) -> Path | None:
        """The record of this row from an earlier run in which it could not be used."""
        return None if self.lost_in is None else lost_record(self.lost_in, self.number)


def jobs_of_rows(
    rows: Iterable[Row],
    source: Path,
    output_dir: Path | str,
    *,
    defaults: SettingsOfKinds,
    overrides: SettingsOfKinds | None = None,
    roots: Iterable[Path | str] = (),
    name: str | None = None,
    staging: Staging | None = None,
    folder_url: str = "",
) -> list[Job]:
    """A job for each row; one that cannot be used has a mistake. Paths of a row are relative to
    the folder of `source`, which no row may read as an input or write. `name` is the template of
    outputs that rows do not name; None: that of each kind."""
    look_again()
    reader = _Reader(
        folder=source.parent,
        output_dir=Path(output_dir).absolute(),
        # As text, since patterns and templates may be among them, as in rows.
        defaults={kind: plain(values) for kind, values in defaults.items()},
        overrides={kind: plain(values) for kind, values in (overrides or {}).items()},
        roots=tuple(real_path(root) for root in roots),
        name=None if name is None else check_template(name),
        owners={str(source): "the manifest"},
        staging=staging or Staging(),
        folder_url=folder_url,
    )
    with _nothing_collected():
        return reader.jobs(rows)


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


@dataclass(kw_only=True)
class _Reader:
    """Makes jobs of rows, and knows which row owns which output."""

    folder: Path
    output_dir: Path
    defaults: SettingsOfKinds
    overrides: SettingsOfKinds
    roots: tuple[Path, ...]
    name: str | None
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

    def _combinations(self, row: Row) -> Iterator[tuple[dict[str, object], str]]:
        if row.mistake:
            yield {}, row.mistake
            return
        try:
            defaults, overrides = (
                settings.get(row.kind.name, {}) for settings in (self.defaults, self.overrides)
            )
            base = self.folder_url or self.folder
            settings = {**defaults, **row.values, **overrides}
            yield from [(values, "") for values in expand(settings, base, row.kind)]
        except RequestError as mistake:
            yield {}, str(mistake)

    def _job(self, number: int, row: Row, values: dict[str, object], mistake: str) -> Job:
        label = row.label if row.number == number else f"{row.label}, job {number}"
        if mistake:
            return self._without_request(number, label, mistake, row.number)
        kind = row.kind
        try:
            fields = partial(kind.template_values, number, dict(values))
            files = None
            if kind.remote:
                values, files = self.staging.job_files(number, values, self.folder_url)
                self._check_urls(files)
            else:
                self._refuse_urls(kind, values)
            request = self._request(kind, fields, values)
            if isinstance(request, AnimationRequest):
                files = self.staging.with_outputs(files, request)
            products = kind.products(request)
            self._claim(products, label, files)
        except UserError as reason:
            return self._without_request(number, label, str(reason), row.number)
        return Job(
            number=number,
            label=label,
            row=row.number,
            record=products.record,
            lost_in=self.output_dir,
            request=request,
            files=files,
        )

    def _without_request(self, number: int, label: str, mistake: str, row: int) -> Job:
        record = lost_record(self.output_dir, number)
        return Job(number=number, label=label, row=row, record=record, mistake=mistake)

    def _check_urls(self, files: JobFiles | None) -> None:
        """Raise RequestError for remote files where files must lie in given folders."""
        if files is not None and self.roots and (files.inputs or files.models):
            url = next(iter([*files.inputs.values(), *files.models.values()]))
            raise RequestError(f"{url} lies outside the allowed --root, which is a local folder")

    def _refuse_urls(self, kind: RowKind[Any], values: Mapping[str, object]) -> None:
        """Raise RequestError where files of a kind that is made here lie in a store."""
        urls = [str(value) for value in values.values() if is_url(value)]
        urls += [url for url in (self.folder_url, self.staging.output_url) if url]
        if urls:
            raise RequestError(
                f"rows of kind {kind.name} read and write files of this machine, and {urls[0]} is "
                "in a store; copy the files here"
            )

    def _request(
        self,
        kind: RowKind[Any],
        fields: Callable[[], dict[str, object]],
        values: dict[str, object],
    ) -> Request:
        """The request of a row; `fields` gives the values of its templates."""
        settings_of(kind.settings)["model"].read(values.get("model"))
        name = values.pop("output", None)
        if not name:
            template = kind.usual_name if self.name is None else kind.output_name(self.name)
            name = fill_template(template, fields())
        output = self.outputs.output(name)
        settings = with_absolute_paths(values, self.folder, kind.settings)
        for beside in _BESIDES & settings.keys():
            if settings[beside]:
                settings[beside] = self.outputs.output(fill_template(settings[beside], fields()))
        request: Request = kind.request({**settings, "output": output})
        check_inside(request, self.roots)
        if not isinstance(request, AnimationRequest) or request.runtime.work in (None, NONE):
            return request
        work = request.runtime.work / work_name(output, self.output_dir)
        return replace(request, runtime=replace(request.runtime, work=work))

    def _claim(self, products: Products, label: str, remote: JobFiles | None) -> None:
        """Note a job's files. Raises RequestError where another row has one of them, or where it
        is a remote input."""
        if remote is not None:
            written = set(remote.inputs.values()) & set(remote.outputs.values())
            if written:
                raise RequestError(f"{written.pop()} is an input and would be written over")
        output = products.output
        files = {str(output): "output", str(products.record): "record"}
        files |= {str(file): "output" for file in products.files}
        files |= {str(file): "file" for file in products.besides.values()}
        sidecars = [str(path) for path in products.sidecars]
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
                return self._without_request(job.number, job.label, mistake, job.row)
        return job


def sorted_jobs(jobs: Iterable[Job]) -> list[Job]:
    """Jobs by their kind and by what is loaded for them."""
    return sorted(jobs, key=_loading_order)


def _loading_order(job: Job) -> tuple[str, ...]:
    if job.request is None:
        return ()
    kind = kind_of(job.request)
    return kind.name, *kind.order(job.request), f"{job.number:09}"
