"""A manifest may mix clips and stills: rows, series, what counts as done, the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from animate.batch.executor import SerialExecutor
from animate.batch.kinds import kind_of, products_of
from animate.batch.manifest import Manifest, load_manifest
from animate.batch.records import JobRecord, read_record
from animate.batch.report import write_report
from animate.batch.runner import run_batch
from animate.errors import ManifestError
from animate.media import read_image, write_png
from animate.models.components import build_control_network
from animate.models.stills import load_still_design
from animate.request.still import StillRequest
from tests.toy_still import DESIGN, toy_pipeline

STILL = {"kind": "still", "prompt": "a dancer", "control": "edges.png", "steps": 2, "seed": 3}
CLIP = {"reference": "me.png", "driving": "dance.mp4", "steps": 3}


def manifest(folder: Path, *rows: dict[str, Any], **options: Any) -> Manifest:
    file = folder / "jobs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_manifest(file, folder / "out", **options)


def mistakes(folder: Path, *rows: dict[str, Any], **options: Any) -> str:
    with pytest.raises(ManifestError) as error:
        manifest(folder, *rows, **options)
    return str(error.value)


def test_clips_and_stills_stand_in_one_manifest(tmp_path: Path) -> None:
    last = {"kind": "clip", **CLIP, "output": "b.mp4"}
    jobs = manifest(tmp_path, CLIP, STILL, {**STILL, "count": 3}, last).jobs
    assert [kind_of(job.request).name for job in jobs if job.request] == [
        "clip", "still", "still", "clip",
    ]  # fmt: skip
    still, series = jobs[1].request, jobs[2].request
    assert isinstance(still, StillRequest)
    assert still.control == tmp_path / "edges.png"
    assert still.output == tmp_path / "out" / "still-0002.png"
    assert jobs[1].record.name == "still-0002.png.job.json"
    assert series is not None
    assert products_of(series).output.name == "still-0003-%04d.png"
    assert [file.name for file in products_of(series).files][-1] == "still-0003-0002.png"


def test_lists_and_patterns_of_control_pictures_and_seeds_are_jobs(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"picture")
    row = {**STILL, "control": "*.png", "seed": [1, 2], "prompt": "is it a dancer?"}
    jobs = manifest(tmp_path, row, name="{control}-{seed}.mp4").jobs
    names = [job.request.output.name for job in jobs if job.request]
    assert names == ["a-1.png", "a-2.png", "b-1.png", "b-2.png"]


def test_a_table_names_the_kind_in_a_column(tmp_path: Path) -> None:
    file = tmp_path / "jobs.csv"
    file.write_text("kind,reference,driving,prompt,steps\n,me.png,d.mp4,,4\nstill,,,a dancer,5\n")
    clip, still = load_manifest(file, tmp_path / "out").jobs
    assert clip.request is not None
    assert clip.request.model == "auto"
    assert isinstance(still.request, StillRequest)
    assert (still.request.prompt, still.request.steps) == ("a dancer", 5)


def test_defaults_hold_for_the_kinds_that_have_them(tmp_path: Path) -> None:
    file = tmp_path / "jobs.yaml"
    file.write_text(
        "defaults: {kind: still, negative: blurred, steps: 7, overlap: 2}\n"
        "rows: [{prompt: a}, {kind: clip, reference: a.png, driving: b.mp4}]\n"
    )
    options = {"steps": 3, "window": 8, "device": "cpu"}
    still, clip = load_manifest(file, tmp_path / "out", overrides=options).jobs
    assert isinstance(still.request, StillRequest)
    assert (still.request.negative, still.request.steps) == ("blurred", 7)
    assert still.request.device == "cpu", "the command line says where both are made"
    assert clip.request is not None
    assert not isinstance(clip.request, StillRequest)
    assert (clip.request.sampling.steps, clip.request.sampling.overlap) == (3, 2)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"kind": "stil", "prompt": "x"}, "kind 'stil' is not one of clip, still"),
        ({"kind": ["still"]}, "kind .* is not one of clip, still"),
        ({**STILL, "promt": "x"}, "unknown setting 'promt'; did you mean 'prompt'"),
        ({**STILL, "driving": "d.mp4"}, "unknown setting 'driving'"),
        ({**STILL, "output": "a.mp4"}, "is not a .png"),
        ({**STILL, "control": "s3://bucket/a.png"}, "rows of kind still .* copy the files here"),
        ({**STILL, "output": "../a.png"}, "outside the output folder"),
        ({**CLIP, "prompt": "x"}, "unknown setting 'prompt'"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    import re

    assert re.search(words, mistakes(tmp_path, row))


def test_pictures_of_two_rows_do_not_overwrite_each_other(tmp_path: Path) -> None:
    series = {**STILL, "count": 3, "output": "a.png"}
    text = mistakes(tmp_path, series, {**STILL, "output": "a-0001.png"})
    assert "is that of row 1" in text


def test_a_still_outside_the_root_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    text = mistakes(tmp_path, {**STILL, "control": str(tmp_path / "x.png")}, roots=[inside])
    assert "outside the allowed --root" in text


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A base and a control network of toy size."""
    folder = tmp_path_factory.mktemp("still")
    torch.manual_seed(0)
    toy_pipeline(folder).save_pretrained(folder / "base", safe_serialization=True)
    network = build_control_network(load_still_design(DESIGN).controlnext)
    save_file(network.state_dict(), folder / "control.safetensors")
    return {"base": str(folder / "base"), "controlnext": str(folder / "control.safetensors")}


def make(found: Manifest, **options: Any) -> list[JobRecord]:
    return list(run_batch(found, executor=SerialExecutor(), **options))


def test_stills_are_made_kept_and_made_again_when_they_change(
    tmp_path: Path, model: dict[str, str]
) -> None:
    edges = np.zeros((64, 64, 3), np.uint8)
    edges[20:40, 10:50] = 255
    write_png(tmp_path / "edges.png", edges)
    row = {**STILL, **model, "size": "64x64", "output": "a.png", "count": 2}
    first = make(manifest(tmp_path, row))
    assert [record.error for record in first] == [""]
    assert (first[0].status, first[0].product, first[0].frames) == ("done", "still", 2)
    pictures = [tmp_path / "out" / f"a-000{number}.png" for number in range(2)]
    assert [read_image(picture).shape for picture in pictures] == [(64, 64, 3)] * 2
    again = make(manifest(tmp_path, row))
    assert again[0].status == "kept"

    stamps = [picture.stat().st_mtime_ns for picture in pictures]
    longer = make(manifest(tmp_path, {**row, "count": 3}))
    assert longer[0].status == "done"
    assert "count" in longer[0].why
    assert [picture.stat().st_mtime_ns for picture in pictures] == stamps, "they were finished"
    changed = make(manifest(tmp_path, {**row, "count": 3, "prompt": "a singer"}))
    assert changed[0].status == "done"
    assert [picture.stat().st_mtime_ns for picture in pictures] != stamps

    made = manifest(tmp_path, {**row, "count": 3, "prompt": "a singer"})
    page = write_report(made).read_text()
    assert "control picture" in page
    assert "3 pictures" in page
    assert "driving frame" not in page
    assert 'href="a-0000.png"' in page, "numbered pictures are opened at their first"
    record = read_record(made.jobs[0].record)
    assert record is not None
    assert len(record.pictures.results) == 3


def test_a_still_that_cannot_be_made_fails_alone(tmp_path: Path, model: dict[str, str]) -> None:
    row = {**STILL, **model, "size": "64x64"}
    missing = make(manifest(tmp_path, row))
    assert missing[0].status == "failed"
    assert "edges.png does not exist" in missing[0].error
