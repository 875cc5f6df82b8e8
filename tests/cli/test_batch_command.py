"""`cnx batch` from the manifest to the report, on a model with random weights."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from animate.cli.main import main
from animate.errors import ExecutorError
from tests.scene import write_scene
from tests.toy import toy_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "toy"
    toy_model(folder)
    return folder


@pytest.fixture
def manifest(tmp_path: Path, model: Path) -> Path:
    write_scene(tmp_path, 4)
    good = {"reference": "reference.png", "driving": "driving.mp4", "poses": "poses.npz"}
    rows = [{**good, "output": f"clip{seed}.mp4", "seed": seed} for seed in (1, 2)]
    path = tmp_path / "jobs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "usual.yaml").write_text(
        f"model: {model}\nretarget: none\nsampling: {{steps: 1}}\n"
    )
    return path


def batch(manifest: Path, *more: str, quiet: bool = True) -> int:
    folder = manifest.parent
    given = [str(manifest), "--output-dir", str(folder / "out"), *more]
    given += ["--config", str(folder / "usual.yaml"), *(["--quiet"] if quiet else [])]
    return main(["batch", *given])


def add(manifest: Path, **changes: Any) -> None:
    row = {**json.loads(manifest.read_text().splitlines()[0]), **changes}
    manifest.write_text(manifest.read_text() + json.dumps(row) + "\n")


def frames_digest(clip: Path) -> str:
    return json.loads(clip.with_suffix(".json").read_text())["output"]["frames_sha256"]


def test_quiet_still_tells_of_failures(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(manifest, output="lost.mp4", driving="gone.mp4")
    assert batch(manifest, "--executor", "serial") == 3
    assert "1 of 3 jobs failed; see" in capsys.readouterr().err


def test_bad_jobs_are_recorded_and_the_others_made_by_worker_processes(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(manifest, output="lost.mp4", driving="gone.mp4")
    add(manifest, output="odd.mp4", size="63x64")
    (manifest.parent / "damaged.mp4").write_bytes(b"nonsense" * 50)
    add(manifest, output="damaged.mp4", driving="damaged.mp4")
    assert batch(manifest, "--jobs", "2", quiet=False) == 3
    out = manifest.parent / "out"
    kinds = {
        path.name.partition(".")[0]: json.loads(path.read_text())["error_kind"]
        for path in out.glob("*.job.json")
    }
    assert kinds == {
        "clip1": None,
        "clip2": None,
        "lost": "missing-file",
        "odd": "request",
        "damaged": "media",
    }
    assert frames_digest(out / "clip1.mp4") != frames_digest(out / "clip2.mp4")
    record = json.loads((out / "clip1.mp4.job.json").read_text())
    assert set(record["pictures"]) == {"reference", "driving", "pose", "results"}
    assert record["peak_host_bytes"] > 2**20
    assert record["worker"].startswith("local ")
    shown = capsys.readouterr().err
    assert "2 done, 3 failed; see" in shown
    assert "row 3 (line 3) failed (missing-file)" in shown
    page = (out / "report.html").read_text()
    assert page.index("lost.mp4") < page.index("clip1.mp4")

    # Put right what was wrong, and only that is done.
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:2]))
    add(manifest, output="odd.mp4", size="64x64", seed=1, steps=2)
    before = (out / "clip1.mp4").stat().st_mtime_ns
    assert batch(manifest, "--executor", "serial", quiet=False) == 0
    assert "1 done, 2 were done before" in capsys.readouterr().err
    assert (out / "clip1.mp4").stat().st_mtime_ns == before


def test_a_plan_says_what_would_be_done_and_does_nothing(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(manifest, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "2  to do: new" in shown
    assert "clip1.mp4: new; 4 frames, toy" in shown
    assert "no prediction of time" in shown
    assert "memory of a worker: up to about" in shown
    assert not (manifest.parent / "out").exists()

    assert batch(manifest, "--rows", "1", "--executor", "serial") == 0
    add(manifest, output="odd.mp4", size="63x64")
    add(manifest, output="card.mp4", device="cuda:99")
    assert batch(manifest, "--dry-run", "--json-progress", quiet=False) == 3
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    plans = [line for line in lines if line["event"] == "plan"]
    assert [plan["wanted"] for plan in plans] == [False, True, True, True]
    assert "63x64" in plans[2]["problem"]
    assert "device cuda:99" in plans[3]["problem"]
    assert plans[1]["seconds"] > 0
    assert "1 of toy" in lines[-1]["time"]


def test_a_worker_needs_at_least_the_memory_of_the_process_itself(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--rows", "1", "--executor", "local", "--json-progress")
    assert batch(manifest, "--dry-run", *given, quiet=False) == 0
    [plan, _] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert batch(manifest, *given, quiet=False) == 0
    record = json.loads((manifest.parent / "out" / "clip1.mp4.job.json").read_text())
    # The process that plans is the tests' own, which has loaded more than a worker does.
    assert plan["memory"] > 0.6 * record["peak_host_bytes"]


def test_events_are_added_to_a_log_file(manifest: Path) -> None:
    add(manifest, output="lost.mp4", driving="gone.mp4")
    log = manifest.parent / "batch.log"
    log.write_text("of an earlier run\n")
    assert batch(manifest, "--executor", "serial", "--log-file", str(log)) == 3
    first, *lines = log.read_text().splitlines()
    assert first == "of an earlier run"
    stamps, texts = zip(*(line.split(" ", 1) for line in lines), strict=True)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", stamp) for stamp in stamps)
    assert texts[0] == "3 jobs"
    assert "row 1 (line 1): denoise" in texts
    assert any(text.startswith("row 3 (line 3) failed (missing-file)") for text in texts)
    assert texts[-1] == "end: 2 done, 1 failed"
    folder = manifest.parent
    assert batch(manifest, "--log-file", str(folder)) == 2


def test_the_same_seeds_through_workers_and_alone_give_the_same_frames(
    manifest: Path, model: Path, tmp_path: Path
) -> None:
    assert batch(manifest, "--executor", "serial", "--no-report") == 0
    assert not (tmp_path / "out" / "report.html").exists()
    alone = tmp_path / "alone.mp4"
    files = {"reference": "reference.png", "driving": "driving.mp4", "poses": "poses.npz"}
    given = [part for k, v in files.items() for part in (f"--{k}", str(tmp_path / v))]
    given += ["--output", str(alone), "--model", str(model), "--retarget", "none"]
    assert main(["run", *given, "--steps", "1", "--seed", "2", "--quiet"]) == 0
    assert frames_digest(alone) == frames_digest(tmp_path / "out" / "clip2.mp4")


def test_progress_for_programs_has_an_event_for_each_job(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(manifest, "--executor", "serial", "--json-progress", quiet=False) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    jobs = [event for event in events if event["event"] == "job"]
    assert [job["status"] for job in jobs] == ["done", "done"]
    assert events[-1]["event"] == "batch"
    assert (events[-1]["done"], events[-1]["failed"]) == (2, 0)
    assert {"denoise", "jobs"} <= {e["name"] for e in events if e["event"] == "stage"}


def test_farms_see_one_number_that_rises(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--executor", "serial", "--progress", "openjd", "--rows", "2")
    assert batch(manifest, *given, quiet=False) == 0
    lines = capsys.readouterr().out.splitlines()
    percents = [int(line.split()[1]) for line in lines if line.startswith("openjd_progress:")]
    assert percents == sorted(percents)
    assert len(percents) > 2
    assert percents[-1] == 100


def test_the_last_rows_of_an_array_are_made_and_the_others_named(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(manifest, "--rows", "2-5", "--executor", "serial", quiet=False) == 0
    assert f"no rows 3-5: {manifest} has 2" in capsys.readouterr().err
    assert [clip.name for clip in (manifest.parent / "out").glob("*.mp4")] == ["clip2.mp4"]


def test_jobs_go_to_the_cluster_that_a_configuration_names(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def make_executor(name: str, workers: int, **options: Any) -> Any:
        asked.append((name, options))
        raise ExecutorError("no cluster here")

    monkeypatch.setattr("animate.batch.executors.make_executor", make_executor)
    usual = manifest.parent / "usual.yaml"
    assert batch(manifest, "--executor", "ray") == 2
    usual.write_text(usual.read_text() + "runtime: {ray-address: head:1}\n")
    assert batch(manifest, "--executor", "ray") == 2
    assert batch(manifest, "--executor", "ray", "--ray-address", "head:2") == 2
    named = (None, "head:1", "head:2")
    assert asked == [("ray", {"time_limit": None, "address": address}) for address in named]
    assert "no cluster here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--rows", "0-3"], "begin at 1"),
        (["--rows", "9"], "there is no row 9"),
        (["--jobs", "0"], "jobs 0 is not at least 1"),
        (["--executor", "cluster"], "executor 'cluster' is not one of local, serial, ray"),
        (["--overwrite", "--resume"], "not allowed with"),
        (["--root", "/nowhere"], "outside the allowed --root /nowhere"),
        (["--name", "{x}.mp4"], "{x}"),
        (["--time-limit", "-1"], "time limit -1.0"),
        (["--steps", "0"], "steps 0 is out of range"),
    ],
)
def test_slips_end_with_code_2_and_nothing_done(
    manifest: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(manifest, *more) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown
    assert not (manifest.parent / "out").exists()


def test_an_executor_that_is_not_installed_names_its_extra(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert batch(manifest, "--executor", "ray") == 2
    assert "[ray]" in capsys.readouterr().err
