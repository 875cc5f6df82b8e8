"""Manifests: every form gives the same requests, every mistake is named with its row."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from animate.batch.manifest import Manifest, load_manifest
from animate.errors import ManifestError, RequestError

ROW = {"reference": "me.png", "driving": "dance.mp4", "output": "a.mp4", "seed": 3}


def write(folder: Path, *rows: Any, name: str = "jobs.jsonl") -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def load(path: Path, **options: Any) -> Manifest:
    return load_manifest(path, path.parent / "out", **options)


def mistakes(path: Path, **options: Any) -> str:
    with pytest.raises(ManifestError) as caught:
        load(path, **options)
    return str(caught.value)


def test_every_form_gives_the_same_request(tmp_path: Path) -> None:
    flat = {**ROW, "steps": 4, "smooth": False, "guidance": "1:3", "control_weight": 0.5}
    nested = {**ROW, "smooth": False, "sampling": {"steps": 4, "guidance": "1:3"}}
    nested["control-weight"] = 0.5
    jsonl = write(tmp_path, flat)
    csv = tmp_path / "jobs.csv"
    csv.write_text(
        "reference,driving,output,seed,steps,smooth,guidance,control-weight,stride\n"
        'me.png,"dance.mp4",a.mp4,3,4,false,1:3,0.5,\n'
    )
    yaml = tmp_path / "jobs.yaml"
    yaml.write_text(f"rows:\n  - {json.dumps(nested)}\n")
    requests = [load(path).jobs[0].request for path in (jsonl, csv, yaml)]
    assert requests[0] == requests[1] == requests[2]
    assert requests[0] is not None
    assert requests[0].sampling.steps == 4
    assert requests[0].reference == tmp_path / "me.png"
    assert requests[0].output == tmp_path / "out" / "a.mp4"


def test_the_command_line_wins_over_rows_and_rows_over_defaults(tmp_path: Path) -> None:
    path = tmp_path / "jobs.yaml"
    path.write_text(
        "defaults: {steps: 5, stride: 2}\nname: '{row:03}_{driving}.webm'\n"
        "rows:\n- {reference: a.png, driving: b.mp4, steps: 6}\n"
        "- {reference: a.png, driving: c.mp4}\n"
    )
    options = {"defaults": {"steps": 4, "window": 8, "stride": 3}, "overrides": {"seed": 9}}
    first, second = (job.request for job in load(path, **options).jobs)
    assert first is not None
    assert second is not None
    assert (first.sampling.steps, second.sampling.steps) == (6, 5)
    assert (first.sampling.window, first.stride, first.sampling.seed) == (8, 2, 9)
    assert [first.output.name, second.output.name] == ["001_b.webm", "002_c.webm"]


def test_paths_of_rows_are_relative_to_the_manifest(tmp_path: Path) -> None:
    row = {**ROW, "poses": "p/dance.npz", "model": "./toy", "cache": "none"}
    request = load(write(tmp_path, row)).jobs[0].request
    assert request is not None
    assert request.poses == tmp_path / "p/dance.npz"
    assert request.model == str(tmp_path / "toy")
    assert request.runtime.cache == Path("none")
    assert load(write(tmp_path, {**ROW, "model": "tiny"})).jobs[0].request.model == "tiny"  # type: ignore[union-attr]


def test_lists_and_patterns_make_a_matrix(tmp_path: Path) -> None:
    for name in ("people/b.png", "people/a.png", "x.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    row = {"reference": "people/*.png", "driving": ["x.mp4", "y.mp4"], "seed": [1, 2]}
    row["poses"] = "poses/{driving}.npz"
    jobs = load(write(tmp_path, row), name="{reference}_{driving}_{seed}.mp4").jobs
    assert [job.number for job in jobs] == list(range(1, 9))
    requests = [job.request for job in jobs if job.request]
    assert [request.output.name for request in requests[:3]] == [
        "a_x_1.mp4", "a_x_2.mp4", "a_y_1.mp4"
    ]  # fmt: skip
    assert requests[2].poses == tmp_path / "poses/y.npz"
    assert jobs[7].label == "row 1 (line 1), job 8"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"reference": "a.png", ', "not JSON"),
        ("[1, 2]", "must be an object"),
        ('{"seed": NaN}', "NaN is not a number"),
        ('{"seed": 1, "seed": 2}', "'seed' is given twice"),
        ({**ROW, "drivng": "b.mp4"}, "unknown setting 'drivng'; did you mean 'driving'?"),
        ({**ROW, "steps": "four"}, "steps 'four' is not a whole number"),
        ({**ROW, "steps": True}, "steps True is not a whole number"),
        ({**ROW, "size": "big"}, "WIDTHxHEIGHT"),
        ({**ROW, "seed": -1}, "out of range"),
        ({**ROW, "sampling": 4}, "sampling must hold names"),
        ({"driving": "b.mp4"}, "reference is missing"),
        ({**ROW, "output": "../a.mp4"}, "outside the output folder"),
        ({**ROW, "output": f"{'ö' * 125}.mp4"}, "may have 255 bytes"),
        ({**ROW, "output": "/tmp/a.mp4"}, "outside the output folder"),
        ({**ROW, "output": 7}, "output 7 is not a path"),
        ({**ROW, "reference": []}, "reference is an empty list"),
        ({**ROW, "reference": "no/*.png"}, "fits no file"),
        ({**ROW, "overlap": 4, "window": 4}, "overlap 4 is not below"),
        ({**ROW, "reference": "a\0.png"}, "zero byte"),
        ({**ROW, "stride": 2, "sampling": {"seed": 1}}, "seed is given twice"),
    ],
)
def test_a_mistake_is_named_with_its_row(tmp_path: Path, row: Any, message: str) -> None:
    path = write(tmp_path, {**ROW, "output": "good.mp4"}, "", row)
    shown = mistakes(path)
    assert "row 2 (line 3)" in shown
    assert message in shown
    assert "1 of 2 rows" in shown
    assert not (tmp_path / "out").exists()


def test_all_mistakes_are_named_at_once_up_to_a_limit(tmp_path: Path) -> None:
    rows = [{**ROW, "output": f"{n}.mp4", **({"stepz": 1} if n % 2 else {})} for n in range(60)]
    shown = mistakes(write(tmp_path, *rows))
    assert "30 of 60 rows" in shown
    assert shown.count("did you mean 'steps'") == 20
    assert "and 10 more" in shown
    kept = load(write(tmp_path, *rows), keep_going=True).jobs
    assert sum(1 for job in kept if job.mistake) == 30
    assert kept[1].record == tmp_path / "out" / ".row-00002.lost"


def test_ten_thousand_rows_with_one_mistake_in_the_middle(tmp_path: Path) -> None:
    rows: list[Any] = [{**ROW, "output": f"{n}.mp4"} for n in range(10_000)]
    rows[5000] = '{"reference": '
    began = time.process_time()
    shown = mistakes(write(tmp_path, *rows))
    assert "row 5001 (line 5001)" in shown
    assert time.process_time() - began < 20


def test_outputs_must_be_their_own(tmp_path: Path) -> None:
    shown = mistakes(write(tmp_path, ROW, {**ROW, "seed": 4}))
    assert "row 2 (line 2): output a.mp4 is that of row 1" in shown


def test_adapters_and_what_is_written_besides_have_their_places(tmp_path: Path) -> None:
    row = {**ROW, "lora": ["a.safetensors:0.5", "b.safetensors"], "contact_sheet": "{seed}.png"}
    request = load(write(tmp_path, row)).jobs[0].request
    assert request is not None
    assert [(one.path, one.weight) for one in request.lora] == [
        (tmp_path / "a.safetensors", 0.5),
        (tmp_path / "b.safetensors", 1.0),
    ]
    assert request.contact_sheet == tmp_path / "out" / "3.png"
    away = {**row, "output": "b.mp4", "lora": "/etc/passwd", "contact_sheet": "b.png"}
    shown = mistakes(write(tmp_path, row, away), roots=[tmp_path])
    assert "row 2 (line 2): lora /etc/passwd lies outside" in shown
    assert "file 3.png of output b.mp4" in mistakes(
        write(tmp_path, row, {**row, "output": "b.mp4"})
    )


def test_no_output_is_an_input(tmp_path: Path) -> None:
    rows = {**ROW, "output": "b.mp4", "driving": "out/a.mp4"}, ROW
    assert "is also what row 2 (line 2) would write" in mistakes(write(tmp_path, *rows))


@pytest.mark.parametrize("name", ["jobs.jsonl", "jobs.csv", "jobs.yaml"])
def test_empty_manifests_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    assert "has no rows" in mistakes(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("reference,drivng\na.png,b.mp4\n", "line 1: unknown setting 'drivng'; did you mean"),
        ("reference,seed,seed\n", "line 1: seed is given twice|'seed' is there twice"),
        ("reference;driving\na;b\n", "by commas"),
        ("reference,driving,output\na.png,b.mp4\n", r"row 1 \(line 2\): 2 cells under 3 columns"),
        ("reference,driving,seed\na.png,b.mp4,x\n", r"row 1 \(line 2\): seed 'x' is not a whole"),
        ('reference,driving\na.png,"b.mp4\n', r"row 1 \(line 2\): this is not CSV"),
        ("reference,driving,smooth\na.png,b.mp4,ja\n", "smooth 'ja' is not true or false"),
    ],
)
def test_mistakes_of_csv_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text(text)
    with pytest.raises(ManifestError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rowz: []", "unknown 'rowz'; did you mean 'rows'"),
        ("rows: 3", "rows must be a list"),
        ("rows: [3]", "row 1: a row must hold names with values"),
        ("defaults: {stepz: 3}\nrows: []", "defaults: unknown setting 'stepz'"),
        ("rows: [", "line"),
        ("name: '{driver}.mp4'\nrows: [{reference: a.png, driving: b.mp4}]", "name .*driver"),
    ],
)
def test_mistakes_of_yaml_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "jobs.yaml"
    path.write_text(text)
    with pytest.raises(RequestError, match=message):
        load(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d.csv").mkdir()
    assert "does not exist" in mistakes(tmp_path / "none.jsonl")
    assert ".jsonl, .csv or .yaml" in mistakes(tmp_path / "jobs.txt")
    assert "is a folder" in mistakes(tmp_path / "d.csv")


def test_paths_outside_the_roots_are_refused_links_resolved(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "secret"
    inside.mkdir()
    outside.mkdir()
    (outside / "me.png").touch()
    (inside / "link.png").symlink_to(outside / "me.png")
    good = {**ROW, "output": "good.mp4"}
    rows = [
        good,
        {**ROW, "reference": "link.png", "output": "1.mp4"},
        {**ROW, "reference": "../secret/me.png", "output": "2.mp4"},
        {**ROW, "poses": str(outside / "p.npz"), "output": "3.mp4"},
        {**ROW, "model": "../secret/model", "output": "4.mp4"},
    ]
    path = write(inside, *rows)
    assert len(load(path).jobs) == 5
    shown = mistakes(path, roots=[inside])
    for number in (2, 3, 4, 5):
        assert f"row {number} (line {number})" in shown
    assert "row 1 " not in shown
    assert "which is really" in shown


def test_folders_and_patterns_hold_nothing_outside_the_roots(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "secret"
    for folder in (inside / "frames" / "sub", inside / "whole", outside):
        folder.mkdir(parents=True)
    (outside / "1.png").touch()
    (inside / "whole" / "1.png").touch()
    (inside / "frames" / "1.png").symlink_to(outside / "1.png")
    (inside / "frames" / "sub" / "deep").symlink_to(outside)
    rows = [
        {**ROW, "driving": name, "output": f"{number}.mp4"}
        for number, name in enumerate(["whole", "whole/%d.png", "frames", "frames/%d.png"])
    ]
    shown = mistakes(write(inside, *rows), roots=[inside])
    assert "2 of 4 rows" in shown
    assert "row 3 (line 3): driving" in shown
    assert "row 4 (line 4): driving" in shown
    (inside / "frames" / "1.png").unlink()
    shown = mistakes(write(inside, *rows), roots=[inside])
    assert "1 of 4 rows" in shown
    assert f"which is really {outside}" in shown


def test_links_to_folders_inside_are_followed_to_what_is_outside(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "secret"
    for folder in (inside / "frames", inside / "hidden", inside / "lora", outside):
        folder.mkdir(parents=True)
    (inside / "frames" / "more").symlink_to(inside / "hidden")
    (inside / "hidden" / "back").symlink_to(inside / "frames")
    (inside / "lora" / "adapter_model.safetensors").touch()
    rows = [
        {**ROW, "driving": "frames", "output": "a.mp4"},
        {**ROW, "lora": ["lora/adapter_model.safetensors"], "output": "b.mp4"},
    ]
    path = write(inside, *rows)
    assert len(load(path, roots=[inside]).jobs) == 2
    (inside / "hidden" / "1.png").symlink_to(outside / "1.png")
    (inside / "lora" / "adapter_config.json").symlink_to(outside / "config.json")
    shown = mistakes(path, roots=[inside])
    assert "2 of 2 rows" in shown
    assert f"which is really {outside / '1.png'}" in shown
    assert f"which is really {outside / 'config.json'}" in shown


def test_a_line_that_is_too_long_is_one_row_with_a_mistake(tmp_path: Path) -> None:
    path = write(tmp_path, {**ROW, "person": "x" * 2_500_000}, {**ROW, "output": "b.mp4"})
    jobs = load(path, keep_going=True).jobs
    assert [job.label for job in jobs] == ["row 1 (line 1)", "row 2 (line 2)"]
    assert jobs[0].mistake == "this line is longer than 1,000,000 bytes"
    assert jobs[1].request is not None


def test_outputs_cannot_leave_through_a_link(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "away").symlink_to(tmp_path)
    path = write(tmp_path, {**ROW, "output": "away/a.mp4"})
    assert "outside the output folder" in mistakes(path)


def test_only_the_rows_asked_for_are_done_and_judged(tmp_path: Path) -> None:
    path = write(tmp_path, {**ROW, "output": "1.mp4"}, {"stepz": 1}, {**ROW, "output": "3.mp4"})
    manifest = load(path, rows=[1, 3])
    assert [job.number for job in manifest.jobs] == [1, 3]
    assert len(manifest.all_jobs) == 3
    assert "row 2" in mistakes(path, rows=[2])
    assert "there is no row 4" in mistakes(path, rows=[4, 5])
    # The last task of an array asks for as many rows as the others.
    last = load(path, rows=[3, 4, 5])
    assert [job.number for job in last.jobs] == [3]
    assert last.absent == [4, 5]
    assert load(path, rows=[1]).absent == []


def test_unfinished_work_is_known_by_its_clip_and_not_by_its_row(tmp_path: Path) -> None:
    rows = [{**ROW, "output": f"{name}.mp4", "work": "scratch"} for name in "ab"]

    def folders(*rows: Any, output_dir: str = "out") -> dict[str, Path]:
        manifest = load_manifest(write(tmp_path, *rows), tmp_path / output_dir)
        found = {job.request.output.stem: job.request.runtime.work for job in manifest.jobs}
        return found

    before = folders(*rows)
    assert before["a"] != before["b"]
    assert folders({**ROW, "output": "new.mp4", "work": "scratch"}, *rows).items() > before.items()
    assert folders(*rows, output_dir="elsewhere")["a"] != before["a"]
    assert folders(*rows, output_dir="other/../out") == before
    # Names are as `cnx clean` looks for them, and of a length that file systems allow.
    [folder] = folders({**ROW, "output": "shot 1/%04d.png", "work": "scratch"}).values()
    assert re.fullmatch(r"\.shot_1_04d-[0-9a-f]{10}\.work", folder.name)
    assert folder.parent == tmp_path / "scratch"
    [folder] = folders({**ROW, "output": "\U0001f57a" * 60 + ".mp4", "work": "scratch"}).values()
    assert len(folder.name.encode()) <= 255


def test_certificates_are_files_as_others(tmp_path: Path) -> None:
    row = {**ROW, "sign": "chain.pem:key.pem"}
    [job] = load(write(tmp_path, row)).jobs
    assert job.request.runtime.sign == (tmp_path / "chain.pem", tmp_path / "key.pem")
    outside = write(tmp_path, {**ROW, "sign": "/etc/ssl/chain.pem:key.pem"})
    assert "sign /etc/ssl/chain.pem lies outside" in mistakes(outside, roots=[tmp_path])


@pytest.mark.parametrize("name", ["{reference.__class__}.mp4", "{0}.mp4", "{referenc}.mp4"])
def test_templates_reach_nothing_but_their_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match="name"):
        load(write(tmp_path, {"reference": "a.png", "driving": "b.mp4"}), name=name)


HOSTILE = {
    "an object for a path": '{"reference": {"a": 1}, "driving": "b.mp4"}',
    "a list of lists": '{"reference": [["a"]], "driving": "b.mp4"}',
    "a zero byte": '{"reference": "a\\u0000.png", "driving": "b.mp4"}',
    "a zero byte in a pattern": '{"reference": "a\\u0000/*.png", "driving": "b.mp4"}',
    "half a character": '{"reference": "a.png", "driving": "b\\ud800.mp4"}',
    "an object for the poses": '{"reference": "a.png", "driving": "b.mp4", "poses": {}}',
    "a list for the model": '{"reference": "a.png", "driving": "b.mp4", "model": ["tiny"]}',
    "an object beside the clip": json.dumps({**ROW, "side_by_side": {"a": 1}}),
    "a seed beyond 64 bits": json.dumps({**ROW, "seed": 2**64}),
    "deep brackets": '{"reference": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "many names": "{" + ", ".join(f'"k{n}": 1' for n in range(60_000)) + "}",
    "a doubled name": "{" + ", ".join(f'"k{n}": 1' for n in range(60_000)) + ', "k59999": 1}',
    "a long name": '{"reference": "' + "a" * 500 + '.png", "driving": "b.mp4"}',
    "many combinations": json.dumps({**ROW, "driving": ["b.mp4"] * 1000, "seed": [1] * 1000}),
}  # fmt: skip


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_row_is_one_mistake_of_its_number(line: str, tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_text(f"{json.dumps(ROW)}\n{line}\n")
    begun = time.perf_counter()
    first, second = load_manifest(path, tmp_path / "out", keep_going=True).jobs
    assert time.perf_counter() - begun < 20
    assert first.request is not None
    assert second.mistake
    assert second.label.startswith("row 2")
    assert len(second.mistake) < 1000


@pytest.mark.parametrize("name", ["[a]", "{a: b}", "3"])
def test_the_template_of_names_is_text(name: str, tmp_path: Path) -> None:
    path = tmp_path / "jobs.yaml"
    path.write_text(f"name: {name}\nrows: [{{reference: a.png, driving: b.mp4}}]")
    with pytest.raises(ManifestError, match="is not text"):
        load_manifest(path, tmp_path / "out")


@pytest.mark.parametrize("value", ["!!binary aGk=", "!!timestamp 2026-11-28", "!!set {a, b}"])
def test_a_value_of_an_unknown_tag_is_a_mistake_of_its_row(value: str, tmp_path: Path) -> None:
    path = tmp_path / "jobs.yaml"
    path.write_text(
        f"rows:\n- {{reference: a.png, driving: b.mp4}}\n- {{reference: {value}, driving: c.mp4}}\n"
        f"- {{reference: a.png, driving: d.mp4, seed: {value}}}\n- {value}\n"
    )
    jobs = load_manifest(path, tmp_path / "out", keep_going=True).jobs
    assert [bool(job.mistake) for job in jobs] == [False, True, True, True]
    assert f"of the unknown tag {value.split()[0]} is not a path" in jobs[1].mistake


def test_clips_that_differ_in_their_suffix_alone_have_records_of_their_own(tmp_path: Path) -> None:
    rows = [{**ROW, "output": name} for name in ("a.gif", "a.mp4", "a/%04d.png")]
    jobs = load(write(tmp_path, *rows)).jobs
    assert [job.record.name for job in jobs] == ["a.gif.job.json", "a.mp4.job.json", "a.job.json"]


def test_no_file_takes_the_name_of_a_record(tmp_path: Path) -> None:
    sheet = {**ROW, "output": "b.mp4", "contact_sheet": "a.mp4.json"}
    assert "a.mp4.json of output b.mp4 is that of row 1" in mistakes(write(tmp_path, ROW, sheet))


def test_patterns_may_stand_in_the_defaults(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        (tmp_path / name).write_bytes(b"x")
    path = tmp_path / "jobs.yaml"
    path.write_text(
        "defaults: {reference: '*.png', poses: '{driving}.npz'}\nname: '{row}.mp4'\n"
        "rows:\n- {driving: b.mp4}\n"
    )
    requests = [job.request for job in load(path).jobs]
    assert [request and request.reference.name for request in requests] == ["one.png", "two.png"]
    assert [request and request.poses for request in requests] == [tmp_path / "b.npz"] * 2
