"""The same clip by several models or settings: a grid of cells, made as a batch, shown on one page.

An axis is a setting with its values; every combination of all axes' values is a cell, and a job of
the batch. So cells are resumed, retried and kept as jobs are, and a cell that cannot be made has
its reason, while the others are made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from animate.batch.axes import FIXED, PROTOCOL, Axis, axes_of, value_text, varying
from animate.batch.compare_page import PAGE, SHEET, Cell, Comparison, write_page
from animate.batch.compare_sheet import write_sheet
from animate.batch.executor import JobExecutor
from animate.batch.executors import make_executor
from animate.batch.jobs import Job, jobs_of_rows
from animate.batch.manifest import Manifest
from animate.batch.paths import with_absolute_paths
from animate.batch.records import JobRecord
from animate.batch.report import record_of
from animate.batch.rows import Row
from animate.batch.runner import RETRIES, run_batch
from animate.batch.scores import protocol_label, score_clips
from animate.errors import MediaError, RequestError, raises_ours
from animate.evaluation.protocols import load_protocol
from animate.files import check_readable, write_text
from animate.media import check_driving, is_numbered
from animate.models.filling import check_present
from animate.models.variants import resolve
from animate.progress import Progress, Quiet
from animate.request.request import AnimationRequest
from animate.request.schema import flat, settings_of
from animate.request.setting_paths import paths_in

FIGURES = "compare.json"
_SUFFIX = ".mp4"
_LONGEST_NAME = 100


@raises_ours
def compare(
    settings: Mapping[str, Any],
    output_dir: Path | str,
    *,
    models: Sequence[str | Path] = (),
    vary: Mapping[str, Sequence[Any]] | Sequence[Axis] = (),
    truth: Path | str | None = None,
    protocol: str | None = PROTOCOL,
    executor: str | JobExecutor = "local",
    jobs: int = 1,
    overwrite: bool = False,
    retries: int = RETRIES,
    progress: Progress | None = None,
) -> Comparison:
    """Make the clip of `settings` in every cell of a grid, and a page that shows them in step.

    Args:
        settings: as an `AnimationRequest` takes them, nested or flat, without `output`.
        output_dir: folder of the clips, `compare.html`, `compare.png` and `compare.json`.
        models: variants or model folders: the first axis.
        vary: further axes: a setting with its values, such as `{"seed": [1, 2, 3]}`.
        truth: the true clip, which PSNR and the like compare with.
        protocol: name of the evaluation's protocol; None scores nothing.
        executor, jobs, retries: as `run_batch`. With one job at a time, times and memory of cells
            are not those of neighbours.
        overwrite: make cells again that an earlier call has made.

    A cell that failed has its message in its record. Raises RequestError, ManifestError,
    ModelError or MediaError before any work where an argument cannot be used.
    """
    axes = axes_of(models, vary)
    check_values(axes, weights_here=executor in ("local", "serial"))
    check_scoring(truth, protocol)
    manifest, cells = plan_cells(settings, output_dir, axes)
    progress = progress or Quiet()
    engine = make_executor(executor, jobs) if isinstance(executor, str) else executor
    records = run_batch(
        manifest, executor=engine, overwrite=overwrite, retries=retries, progress=progress
    )
    for _ in records:
        pass  # they are read from their files, with those of earlier calls
    return conclude(manifest, cells, axes, truth, protocol, engine.workers, progress)


def check_values(axes: Sequence[Axis], *, weights_here: bool) -> None:
    """Raise ModelError for a model that is unknown, MediaError for an input that is missing: a
    value that no cell could be made with.

    weights_here: the models' files must be on this machine, too; workers elsewhere have their own
    """
    for axis in axes:
        if axis.setting == "model":
            for variant in (resolve(name or "auto").variant for name in axis.values):
                if weights_here:
                    check_present(variant, variant.components)
        elif settings_of(AnimationRequest)[axis.setting].role == "input":
            for path in paths_in(axis.values):
                if is_numbered(path):
                    check_driving(path)
                elif not path.is_dir():
                    check_readable(path, axis.setting.replace("_", " "), MediaError)


def check_scoring(truth: Path | str | None, protocol: str | None) -> None:
    """Raise RequestError or MediaError for a truth or protocol that cannot be used."""
    if protocol is not None:
        load_protocol(protocol)
    if truth is not None:
        if protocol is None:
            raise RequestError("a truth is for scoring, which is switched off; leave one out")
        if not Path(truth).is_dir():
            check_readable(Path(truth), "truth", MediaError)


def plan_cells(
    settings: Mapping[str, Any], output_dir: Path | str, axes: Sequence[Axis]
) -> tuple[Manifest, list[Cell]]:
    """The jobs of all cells as a manifest, and the cells in its order.

    Raises RequestError for settings that no cell could be made with.
    """
    folder = Path(output_dir).absolute()
    common = with_absolute_paths(flat(AnimationRequest, settings), Path.cwd())
    suffix = Path(str(common.pop("output", ""))).suffix or _SUFFIX
    for axis in axes:
        common.pop(axis.setting, None)
    rows, cells = [], []
    outputs: set[str] = set()
    for number, labels, values in _combinations(axes):
        name = _free_name(axes, labels, outputs)
        chosen = {axis.setting: v for axis, v in zip(axes, values, strict=True) if v is not None}
        varied = with_absolute_paths(chosen, Path.cwd())
        rows.append(Row(number=number, values={**common, **varied, "output": f"{name}{suffix}"}))
        cells.append(_cell(number, axes, labels))
    jobs = jobs_of_rows(rows, folder / FIGURES, folder, defaults={})
    named = [replace(job, label=cell.title) for job, cell in zip(jobs, cells, strict=True)]
    if all(job.mistake for job in named):
        raise RequestError(named[0].mistake)
    source = folder / FIGURES
    return Manifest(jobs=named, all_jobs=named, output_dir=folder, source=source), cells


def _combinations(
    axes: Sequence[Axis],
) -> Iterator[tuple[int, tuple[str, ...], tuple[Any, ...]]]:
    """Number from 1, labels and values of every cell; the last axis changes fastest."""
    choices = [list(zip(axis.labels(), axis.values, strict=True)) for axis in axes]
    for number, combination in enumerate(product(*choices), start=1):
        yield number, tuple(label for label, _ in combination), tuple(v for _, v in combination)


def _cell(number: int, axes: Sequence[Axis], labels: Sequence[str]) -> Cell:
    """A cell with the labels of the axes that vary."""
    settings = {axis.setting for axis in varying(axes)}
    values = {a.setting: x for a, x in zip(axes, labels, strict=True) if a.setting in settings}
    title = ", ".join(f"{name.replace('_', ' ')} {label}" for name, label in values.items())
    return Cell(number=number, labels=tuple(values.values()), title=title)


def _free_name(axes: Sequence[Axis], labels: Sequence[str], used: set[str]) -> str:
    """A file name for a cell, which stays the same when cells are added."""
    parts = [f"{axis.setting}-{label}" for axis, label in zip(axes, labels, strict=True)]
    name = re.sub(r"[^\w.+-]+", "-", "_".join(parts))[:_LONGEST_NAME].strip(".-") or "cell"
    number, free = 2, name
    while free.casefold() in used:
        free, number = f"{name}-{number}", number + 1
    used.add(free.casefold())
    return free


def conclude(
    manifest: Manifest,
    cells: Sequence[Cell],
    axes: Sequence[Axis],
    truth: Path | str | None,
    protocol: str | None,
    workers: int,
    progress: Progress,
) -> Comparison:
    """Score the cells that are there; write page, contact sheet and figures."""
    truth = None if truth is None else Path(truth)
    label = "" if protocol is None else protocol_label(protocol, truth)
    if protocol is not None:
        score_clips(manifest.jobs, protocol, progress, truth=truth)
    records = [_only_scores_of(record_of(job), label) for job in manifest.jobs]
    comparison = Comparison(
        axes=tuple(axis.setting for axis in varying(axes)),
        cells=tuple(replace(c, record=r) for c, r in zip(cells, records, strict=True)),
        common=_common(manifest.jobs, axes),
        workers=workers,
        protocol=protocol or "",
        truth=truth,
        page=manifest.output_dir / PAGE,
        sheet=manifest.output_dir / SHEET,
    )
    try:
        write_sheet(comparison)
        write_text(manifest.output_dir / FIGURES, _figures(comparison), follow=False)
        write_page(comparison)
    except OSError as reason:
        raise MediaError(f"{manifest.output_dir} cannot be written: {reason.strerror}") from reason
    return comparison


def _only_scores_of(record: JobRecord, label: str) -> JobRecord:
    """The record without figures of another protocol or truth."""
    return record if record.scored_by == label else replace(record, scores={}, scored_by="")


def _common(jobs: Sequence[Job], axes: Sequence[Axis]) -> Mapping[str, str]:
    """Settings that all cells have and that are not left as they are by default."""
    request = next(job.request for job in jobs if job.request is not None)
    varied = {*FIXED, *(axis.setting for axis in varying(axes))}
    values = {}
    for setting in settings_of(AnimationRequest).values():
        value = setting.value(request)
        if setting.name not in varied and value != setting.default:
            values[setting.name] = value_text(value)
    return values


def _figures(comparison: Comparison) -> str:
    content = {
        "schema": 1,
        "axes": list(comparison.axes),
        "common": dict(comparison.common),
        "protocol": comparison.protocol,
        "truth": str(comparison.truth) if comparison.truth else None,
        "jobs_at_a_time": comparison.workers,
        "cells": [cell.to_dict(comparison.axes) for cell in comparison.cells],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
