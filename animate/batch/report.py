"""`report.html`, for people, and `report.json`, for programs, in a batch's output folder.

The page is one file that needs no network: pictures are in it, clips are linked beside it and
loaded when somebody plays them. It is made from the records of all jobs of a manifest, so that
every run over a part of it leaves a whole report.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from os.path import relpath
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from animate.batch.cards import STATES, card, state_of, time_text
from animate.batch.manifest import Job, Manifest
from animate.batch.records import JobRecord, read_record
from animate.errors import MediaError, RequestError
from animate.files import write_text

PAGE, FIGURES = "report.html", "report.json"
MOST_PICTURED = 1000
"""Jobs whose pictures are in the page, failures first: a browser has to hold them all."""


def write_report(of: Manifest | Iterable[JobRecord], folder: Path | str | None = None) -> Path:
    """Write both files and return the page's path.

    `of` is a manifest, whose records are read and whose output folder is used, or the records that
    `run_batch` gave, with a `folder`. Raises MediaError when a file cannot be written.
    """
    if isinstance(of, Manifest):
        place, title = of.output_dir, of.source.name
        values = [_of_job(job) for job in of.all_jobs]
    elif folder is None:
        raise RequestError("a report of records needs the folder that it goes to")
    else:
        place, title = Path(folder).absolute(), Path(folder).absolute().name
        values = [record.to_dict() for record in of]
    values.sort(key=lambda v: (list(STATES).index(state_of(v)), v["number"]))
    try:
        place.mkdir(parents=True, exist_ok=True)
        write_text(place / FIGURES, _figures(values, title))
        write_text(place / PAGE, page(values, title, place))
    except OSError as reason:
        raise MediaError(f"the report in {place} cannot be written: {reason.strerror}") from reason
    return place / PAGE


def _of_job(job: Job) -> dict[str, Any]:
    """A job's record, or what is known of one that was not begun."""
    own = {"number": job.number, "place": job.place, "record": str(job.record)}
    if job.request is not None:
        own["output"] = str(job.request.output)
    kept = read_record(job.record)
    if kept is not None:
        return {**kept, **own}
    return {"status": "waiting", "why": "not begun", **own}


def _figures(values: list[dict[str, Any]], title: str) -> str:
    jobs = [{k: v for k, v in each.items() if k not in ("pictures", "schema")} for each in values]
    counts = Counter(state_of(each) for each in values)
    content = {
        "schema": 1,
        "manifest": title,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "counts": {state: counts[state] for state in STATES},
        "wall_seconds": round(sum(each.get("wall_seconds") or 0 for each in values), 3),
        "jobs": sorted(jobs, key=lambda each: each["number"]),
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def page(values: list[dict[str, Any]], title: str, folder: Path) -> str:
    """The page on these records, failures first; clips are linked relative to `folder`."""
    template = Template((Path(__file__).parent / "report.html").read_text(encoding="utf-8"))
    counts = Counter(state_of(each) for each in values)
    cards = []
    for index, each in enumerate(values):
        shown = each if index < MOST_PICTURED else {**each, "pictures": {}}
        cards.append(card(shown, link=_link(each.get("output"), folder)))
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    note = "" if len(values) <= MOST_PICTURED else f" · pictures of the first {MOST_PICTURED}"
    return template.safe_substitute(
        title=escape(f"{title}: {_headline(counts)}"),
        heading=escape(_headline(counts)),
        **{"from": escape(f"{title} · {written}{note}")},
        share=_share(counts),
        share_label=escape(_headline(counts)),
        sums=_sums(values, counts),
        filters=_filters(values, counts),
        one=" one" if len(values) == 1 else "",
        cards="\n".join(cards),
    )


def _headline(counts: Counter[str]) -> str:
    total = sum(counts.values())
    what = f"{total} clip" + ("s" if total != 1 else "")
    if counts["done"] == total:
        return f"{what}, all done" if total > 1 else f"{what}, done"
    parts = [f"{counts[state]} {STATES[state]}" for state in STATES if counts[state]]
    return f"{what}: {', '.join(parts)}"


def _share(counts: Counter[str]) -> str:
    shown = [state for state in STATES if counts[state]]
    return "".join(f'<i class="{state}" style="flex:{counts[state]}"></i>' for state in shown)


def _sums(values: list[dict[str, Any]], counts: Counter[str]) -> str:
    """The figures under the headline."""
    sums = [(str(counts[state]), STATES[state], f"is-{state}") for state in STATES if counts[state]]
    done = [each for each in values if state_of(each) == "done"]
    if times := [each["wall_seconds"] for each in done if each.get("wall_seconds")]:
        sums.append((time_text(sum(times)), "of work", ""))
        if len(times) > 1:
            sums.append((time_text(sorted(times)[len(times) // 2]), "a clip, median", ""))
    if frames := sum(each.get("frames") or 0 for each in done):
        sums.append((f"{frames:,}".replace(",", "\u202f"), "frames", ""))
    if peaks := [each["peak_host_bytes"] for each in values if each.get("peak_host_bytes")]:
        sums.append((f"{max(peaks) / 2**30:.2f} GiB", "highest memory", ""))
    if again := sum(1 for each in values if (each.get("attempt") or 1) > 1):
        sums.append((str(again), "tried more than once", ""))
    return "".join(
        f'<div><dt>{escape(what)}</dt><dd class="{kind}">{escape(figure)}</dd></div>'
        for figure, what, kind in sums
    )


def _filters(values: list[dict[str, Any]], counts: Counter[str]) -> str:
    kinds = Counter(each["error_kind"] for each in values if state_of(each) == "failed")
    found = [("all", "All", len(values))]
    found += [(state, STATES[state].capitalize(), counts[state]) for state in STATES]
    found += [(kind, kind.replace("-", " "), count) for kind, count in kinds.most_common()]
    return "\n".join(
        f'<button type="button" data-filter="{escape(name)}" aria-pressed="'
        f'{"true" if name == "all" else "false"}">{escape(text)}<b>{count}</b></button>'
        for name, text, count in found
        if count and (name == "all" or count < len(values) or name == "failed")
    )


def _link(output: Any, folder: Path) -> str:
    """A clip's address relative to the page."""
    return quote(relpath(str(output), folder)) if output else ""
