"""From a manifest to jobs: every row a request, checked before anything is done.

Settings come, from weak to strong: `defaults` (a configuration), the manifest's own defaults, the
row, and `overrides` (the command line). Paths of a manifest are relative to its folder; outputs
are relative to the output folder and stay in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animate.batch import names
from animate.batch.matrix import expand
from animate.batch.paths import (
    BESIDES,
    check_inside,
    lost_record,
    output_place,
    record_path,
    with_absolute_paths,
    work_name,
)
from animate.batch.rows import Row, read_sheet
from animate.clip.record import sidecar_path
from animate.errors import ManifestError, RequestError
from animate.request.request import AnimationRequest
from animate.request.schema import flat

_NAMED_AT_ONCE = 20


@dataclass(frozen=True, kw_only=True)
class Job:
    """One clip of a batch.

    Attributes:
        number: from 1, in the manifest's order, combinations counted; what `--rows` names.
        place: where it stands, for messages: "row 3 (line 4)".
        request: what to make; None where the row cannot be used.
        record: where its record is kept, beside the clip; of a row without one, by its number.
        lost: where the record of this row is if it was of no use in an earlier run.
        mistake: why the row cannot be used.
    """

    number: int
    place: str
    record: Path
    lost: Path | None = None
    request: AnimationRequest | None = None
    mistake: str = ""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A checked manifest.

    Attributes:
        jobs: those to do, in order; rows with mistakes among them if they were to be kept.
        all_jobs: every one that the file has, for the report.
        absent: numbers that were asked for and that it does not have.
        output_dir: absolute folder of the clips.
        source: the file.
    """

    jobs: Sequence[Job]
    all_jobs: Sequence[Job]
    absent: Sequence[int] = ()
    output_dir: Path
    source: Path


def load_manifest(
    path: Path | str,
    output_dir: Path | str,
    *,
    defaults: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    roots: Iterable[Path | str] = (),
    name: str | None = None,
    keep_going: bool = False,
    rows: Collection[int] | None = None,
) -> Manifest:
    """Read and check a whole manifest; nothing is written and no media file is opened.

    With `roots`, every file that a row names must lie in one of these folders, links resolved.
    `name` is the template of output names (see `animate.batch.names`). With `keep_going`, rows
    that cannot be used stay as jobs with a mistake. With `rows`, only the jobs of these numbers are
    to be done, and a mistake elsewhere stops nobody; those that the manifest does not have are
    `absent`, which is an error where it has none of them.

    Raises ManifestError naming every row that cannot be used, and why.
    """
    source = Path(path).absolute()
    sheet = read_sheet(source)
    reader = _Reader(
        folder=source.parent,
        output_dir=Path(output_dir).absolute(),
        defaults={
            **with_absolute_paths(flat(AnimationRequest, defaults or {}), Path.cwd()),
            **with_absolute_paths(sheet.defaults, source.parent),
        },
        overrides=with_absolute_paths(flat(AnimationRequest, overrides or {}), Path.cwd()),
        roots=tuple(Path(root).resolve() for root in roots),
        name=names.check_template(name or sheet.name or names.USUAL),
        taken={source: "the manifest"},
    )
    jobs = list(reader.jobs(sheet.rows))
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
        output_dir=reader.output_dir,
        source=source,
    )


def _refuse(wrong: list[Job], count: int, path: Path | str) -> None:
    if not wrong:
        return
    lines = [f"  {job.place}: {job.mistake}" for job in wrong[:_NAMED_AT_ONCE]]
    if len(wrong) > _NAMED_AT_ONCE:
        lines.append(f"  and {len(wrong) - _NAMED_AT_ONCE} more")
    raise ManifestError(
        f"{path}: {len(wrong)} of {count} rows cannot be used, and nothing was done:\n"
        + "\n".join(lines)
        + "\nCorrect them, or do the others with --keep-going"
    )


@dataclass(kw_only=True)
class _Reader:
    """Makes jobs of rows, and knows which outputs are taken."""

    folder: Path
    output_dir: Path
    defaults: Mapping[str, Any]
    overrides: Mapping[str, Any]
    roots: tuple[Path, ...]
    name: str
    taken: dict[Path, str]

    def jobs(self, rows: Iterable[Row]) -> Iterator[Job]:
        number = 0
        found = []
        for row in rows:
            for values, mistake in self._expanded(row):
                number += 1
                found.append(self._job(number, row, values, mistake))
        yield from (self._kept_from_inputs(job) for job in found)

    def _expanded(self, row: Row) -> Iterator[tuple[dict[str, Any], str]]:
        if row.mistake:
            yield {}, row.mistake
            return
        try:
            given = {**self.defaults, **row.values, **self.overrides}
            yield from [(values, "") for values in expand(given, self.folder)]
        except RequestError as mistake:
            yield {}, str(mistake)

    def _job(self, number: int, row: Row, values: dict[str, Any], mistake: str) -> Job:
        place = row.place if row.number == number else f"{row.place}, job {number}"
        lost = lost_record(self.output_dir, number)
        if mistake:
            return Job(number=number, place=place, record=lost, mistake=mistake)
        try:
            request = self._request(number, values)
            self._take(request, place)
        except RequestError as reason:
            return Job(number=number, place=place, record=lost, mistake=str(reason))
        record = record_path(request.output)
        return Job(number=number, place=place, record=record, lost=lost, request=request)

    def _request(self, number: int, values: dict[str, Any]) -> AnimationRequest:
        output = values.pop("output", None) or names.fill(
            self.name, names.values_of(number, values)
        )
        settings = with_absolute_paths(values, self.folder)
        check_inside(settings, self.roots)
        place = output_place(output, self.output_dir)
        for name in BESIDES:
            if settings.get(name):
                filled = names.fill(settings[name], names.values_of(number, values))
                settings[name] = output_place(filled, self.output_dir)
        if (work := settings.get("work")) and str(work) != "none":
            settings["work"] = Path(work) / work_name(place, self.output_dir)
        return AnimationRequest.from_dict({**settings, "output": place})

    def _take(self, request: AnimationRequest, place: str) -> None:
        """Note a clip's files. Raises RequestError where another row has one of them."""
        output = request.output
        files = {output: "output", sidecar_path(output): "record", record_path(output): "record"}
        files |= {file: "file" for name in BESIDES if (file := getattr(request, name))}
        for file, what in files.items():
            if other := self.taken.get(file):
                of = "" if file == output else f" {file.name} of output"
                raise RequestError(
                    f"{what}{of} {output.relative_to(self.output_dir)} is that of {other} as well; "
                    "give each its own output, or a --name with {row} or {seed}"
                )
        self.taken |= dict.fromkeys(files, place)

    def _kept_from_inputs(self, job: Job) -> Job:
        """A job that would write over an input has a mistake instead."""
        request = job.request
        inputs = (request.reference, request.driving, request.poses) if request else ()
        for file in inputs:
            if file is not None and (owner := self.taken.get(file)):
                return Job(
                    number=job.number,
                    place=job.place,
                    record=lost_record(self.output_dir, job.number),
                    mistake=f"input {file} is also what {owner} would write",
                )
        return job
