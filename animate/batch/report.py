"""`report.html`, for people, and `report.json`, for programs, in a batch's output folder.

The page is one file that needs no network: pictures are in it, clips are linked beside it and
loaded when somebody plays them. It is made from the records of all jobs of a manifest, so that
every run over a part of it leaves a whole report. Its template escapes every value. Paths lead from
its folder on, so that who is given it learns nothing of the machine.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from os.path import relpath
from pathlib import Path
from statistics import median_high
from typing import Any
from urllib.parse import quote

from animate.batch.jobs import Job
from animate.batch.kinds import RowKind, kind_named, products_of
from animate.batch.manifest import Manifest
from animate.batch.records import USUAL_KIND, JobRecord, Pictures, read_record
from animate.clip.shareable import Shareable
from animate.errors import MediaError, RequestError
from animate.files import is_sequence, write_text
from animate.media.sequences import sequence_files
from animate.progress import clock_text

PAGE, FIGURES = "report.html", "report.json"
STATES = {"failed": "failed", "running": "unfinished", "waiting": "not begun", "done": "done"}
"""States in the order in which cards come, with their words."""
MOST_PICTURED = 1000
"""Jobs whose pictures are in the page, failures first: a browser has to hold them all."""
STAGE_COLOURS = {
    "load": "load",
    "poses": "poses",
    "skeletons": "poses",
    "encode": "encode",
    "denoise": "denoise",
    "decode": "decode",
    "generate and write": "denoise",
    "write": "write",
}
"""Colour (a variable of the page's style) of each stage of a clip."""
_PLAYED = (".mp4", ".webm", ".m4v")
_SHORTEST_STAGE = 0.005
"""Seconds; shorter stages are not in the bar."""


def write_report(of: Manifest | Iterable[JobRecord], folder: Path | str | None = None) -> Path:
    """Write both files and return the page's path.

    `of` is a manifest, whose records are read and whose output folder is used, or the records that
    `run_batch` gave, with a `folder`. Raises MediaError when a file cannot be written.
    """
    if isinstance(of, Manifest):
        home, title = of.output_dir, of.source.name
        records = [record_of(job) for job in of.all_jobs]
    elif folder is None:
        raise RequestError("a report of records needs the folder that it goes to")
    else:
        home, title = Path(folder).absolute(), Path(folder).absolute().name
        records = list(of)
    records.sort(key=lambda record: (list(STATES).index(state_of(record)), record.number))
    try:
        home.mkdir(parents=True, exist_ok=True)
        write_text(home / FIGURES, _figures(records, title, home), follow=False)
        write_text(home / PAGE, page(records, title, home), follow=False)
    except OSError as reason:
        raise MediaError(f"the report in {home} cannot be written: {reason.strerror}") from reason
    return home / PAGE


def state_of(record: JobRecord) -> str:
    """A record's state in the report; a clip of an earlier run is done."""
    return "done" if record.status == "kept" else record.status


def record_of(job: Job) -> JobRecord:
    """A job's record, or that of one which was not begun."""
    output = products_of(job.request).output if job.request is not None else None
    record = read_record(job.record)
    if record is None:
        return JobRecord(
            number=job.number,
            label=job.label,
            status="waiting",
            why="not begun",
            record=job.record,
            output=output,
        )
    return replace(
        record,
        number=job.number,
        label=job.label,
        record=job.record,
        output=output or record.output,
    )


def _figures(records: list[JobRecord], title: str, folder: Path) -> str:
    jobs = []
    for record in sorted(records, key=lambda record: record.number):
        values = _shared(record, folder).to_dict()
        del values["schema"], values["pictures"]
        jobs.append(values)
    counts = Counter(map(state_of, records))
    content = {
        "schema": 2,
        "manifest": title,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "counts": {state: counts[state] for state in STATES},
        "wall_seconds": round(sum(record.wall_seconds for record in records), 3),
        "jobs": jobs,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def page(records: list[JobRecord], title: str, folder: Path) -> str:
    """The page on these records, failures first; clips are linked relative to `folder`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    counts = Counter(map(state_of, records))
    pictured = [
        record if index < MOST_PICTURED else replace(record, pictures=Pictures())
        for index, record in enumerate(records)
    ]
    return environment.get_template(PAGE).render(
        title=title,
        headline=_headline(counts, _word(records)),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        most_pictured=MOST_PICTURED if len(records) > MOST_PICTURED else 0,
        counts=[(state, STATES[state], counts[state]) for state in STATES if counts[state]],
        sums=_sums(records),
        filters=_filters(records, counts),
        cards=[_card(record, folder) for record in pictured],
    )


def _word(records: list[JobRecord]) -> str:
    """The word for a job of these."""
    kinds = {record.product for record in records}
    return kinds.pop() if len(kinds) == 1 else "job"


def _headline(counts: Counter[str], word: str) -> str:
    total = sum(counts.values())
    clips = f"{total} {word}" + ("s" if total != 1 else "")
    if counts["done"] == total:
        return f"{clips}, all done" if total > 1 else f"{clips}, done"
    parts = [f"{counts[state]} {STATES[state]}" for state in STATES if counts[state]]
    return f"{clips}: {', '.join(parts)}"


def _sums(records: list[JobRecord]) -> list[tuple[str, str]]:
    """The figures under the headline, each with its words."""
    sums = []
    finished = [record for record in records if state_of(record) == "done"]
    if times := [record.wall_seconds for record in finished if record.wall_seconds]:
        sums.append((clock_text(sum(times)), "of work"))
        if len(times) > 1:
            sums.append((clock_text(median_high(times)), f"a {_word(finished)}, median"))
    if frames := sum(record.frames or 0 for record in finished):
        sums.append((f"{frames:,}".replace(",", "\u202f"), "frames"))
    if peaks := [record.peak_host_bytes for record in records if record.peak_host_bytes]:
        sums.append((f"{max(peaks) / 2**30:.2f} GiB", "highest memory"))
    if retried := sum(record.attempt > 1 for record in records):
        sums.append((str(retried), "tried more than once"))
    return sums


def _filters(records: list[JobRecord], counts: Counter[str]) -> list[tuple[str, str, int]]:
    """The filters that show a part of the cards: name, words and count."""
    failed = [record for record in records if record.status == "failed"]
    kinds = Counter(str(record.error_kind) for record in failed)
    filters = [(state, STATES[state].capitalize(), counts[state]) for state in STATES]
    filters += [(kind, kind.replace("-", " "), count) for kind, count in kinds.most_common()]
    total = len(records)
    parts = [each for each in filters if each[2] and (each[2] < total or each[0] == "failed")]
    return [("all", "All", total), *parts]


@dataclass(frozen=True, kw_only=True)
class Card:
    """One job as the page shows it."""

    record: JobRecord
    state: str
    rank: int
    """Position of the state among all states."""
    name: str
    link: str
    """Address of the clip relative to the page; empty where there is none."""
    playable: bool
    """Browsers play files of this kind."""
    inputs: list[tuple[str, str]]
    """Pictures (base64) of what it was made from, and the words under them."""
    results: str
    """Words on the pictures of the result."""
    words: str
    """The state in words."""
    facts: list[str]
    scores: list[str]
    """Figures of the clip with the titles of their measures."""
    searched: str
    """Lower-case text that the search box looks through."""
    stages: list[tuple[str, str, float, str]]
    """Name, colour, seconds and their text of each stage."""
    details: str
    """Everything else, as JSON."""


def _card(record: JobRecord, folder: Path) -> Card:
    state = state_of(record)
    name = record.output.name if record.output else record.label
    link = quote(relpath(_file(record.output), folder)) if record.output else ""
    record = _shared(record, folder)
    return Card(
        record=record,
        state=state,
        rank=list(STATES).index(state),
        name=name,
        link=link,
        playable=link.lower().endswith(_PLAYED),
        inputs=_inputs(record),
        results=kind_named(record.product).captions()[2],
        words=_state_words(record, state),
        facts=_facts(record),
        scores=_scores(record),
        searched=_searched(record, name),
        stages=[
            (stage, STAGE_COLOURS.get(stage, "other"), seconds, clock_text(seconds))
            for stage, seconds in record.seconds.items()
            if seconds >= _SHORTEST_STAGE
        ],
        details=_details(record),
    )


def _file(output: Path) -> Path:
    """The file to open: of numbered images the first."""
    return next(iter(sequence_files(output)), output) if is_sequence(output) else output


def _inputs(record: JobRecord) -> list[tuple[str, str]]:
    """Pictures of a job's inputs with their words; a clip shows that one cannot be read."""
    first, second, _ = kind_named(record.product).captions()
    pictures = record.pictures
    captioned = [(pictures.reference, first), (pictures.driving, second), (pictures.pose, "pose")]
    if record.product == USUAL_KIND:
        return [pair for pair in captioned if pair[0] or pair[1] != "pose"]
    return [pair for pair in captioned if pair[0]]


def _state_words(record: JobRecord, state: str) -> str:
    tries = f", attempt {record.attempt}" if record.attempt > 1 else ""
    copy = ", a copy" if record.copied_from else ""
    return STATES[state] + tries + copy


def _facts(record: JobRecord) -> list[str]:
    facts = [record.label]
    if amount := kind_named(record.product).amount(record):
        rate = f" at {_rate(record.fps)} fps" if record.fps else ""
        facts.append(f"{amount}{rate}")
    facts += [text for text in (record.size, record.model) if text]
    if record.wall_seconds:
        facts.append(clock_text(record.wall_seconds))
    for peak, words in ((record.peak_host_bytes, ""), (record.peak_device_bytes, " on the device")):
        if peak:
            facts.append(f"{peak / 2**30:.2f} GiB{words}")
    return facts


def _scores(record: JobRecord) -> list[str]:
    from animate.evaluation.scores import MEASURES

    return [
        f"{MEASURES[name].title} {value:.4g} {MEASURES[name].unit}".strip()
        for name, value in record.scores.items()
        if name in MEASURES
    ]


def _rate(text: str) -> str:
    try:
        return f"{float(Fraction(text)):.5g}"
    except (ValueError, ZeroDivisionError, OverflowError):
        return text


def _details(record: JobRecord) -> str:
    names = ("why", "worker", "finished", "key", "copied_from", "record", "request")
    values = record.to_dict()
    parts = {name: values[name] for name in names if values[name]}
    return json.dumps(parts, indent=2, ensure_ascii=False)


def _shared(record: JobRecord, folder: Path) -> JobRecord:
    """A record with paths as they lead from the report's folder on."""
    paths = Shareable(folder=folder)
    record = replace(
        record,
        record=paths.path(record.record),
        output=paths.path(record.output) if record.output else None,
        copied_from=str(paths.path(Path(record.copied_from))) if record.copied_from else "",
    )
    try:
        kind: RowKind[Any] = kind_named(record.product)
        request = kind.request(record.request)
    except RequestError:  # of a row that could not be used, or of another version
        return record
    return replace(
        record,
        request=kind.shared(request, folder),
        error=paths.text(record.error, request),
        warnings=tuple(paths.text(text, request) for text in record.warnings),
    )


def _searched(record: JobRecord, name: str) -> str:
    request, sampling = record.request, record.request.get("sampling")
    words = [name, record.label, record.error_kind, record.error]
    parts = ("reference", "driving", "control", "prompt", "model", "size")
    words += [str(request.get(part) or "") for part in parts]
    if isinstance(sampling, Mapping):
        words.append(f"seed {sampling.get('seed')}")
    return " ".join(word for word in words if word).lower()
