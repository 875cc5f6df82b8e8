from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from animate.cli.arguments import parse
from animate.cli.batch import parser as batch_parser
from scripts.farm_openjd import main as parameters
from scripts.farm_slurm import main as slurm
from scripts.farm_slurm import tasks_of
from tests.scene import write_scene

ROOT = Path(__file__).parent.parent.parent
TEMPLATE = ROOT / "configs" / "farm" / "openjd.yaml"
FARM = ROOT / "configs" / "farm"
SBATCH = ROOT / "configs" / "farm" / "slurm.sh"
needs_openjd = pytest.mark.skipif(
    importlib.util.find_spec("openjd") is None, reason="needs openjd-cli"
)


def openjd(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from openjd.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip


@pytest.fixture
def show(tmp_path: Path) -> Path:
    """A folder with a manifest and a stand-in for `cnx` that writes down what it was given."""
    (tmp_path / "jobs.jsonl").write_text("{}\n")
    stand_in = tmp_path / "cnx"
    stand_in.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\necho "openjd_progress: 50"\n'
        'case "$*" in *"--rows 13"*) exit 3;; esac\n'
    )
    stand_in.chmod(0o755)
    return tmp_path


def calls(show: Path) -> list[str]:
    return (show / "calls").read_text().splitlines()


@needs_openjd
def test_the_template_is_one() -> None:
    done = openjd("check", str(TEMPLATE))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_template_has_no_absolute_default_and_maps_its_paths() -> None:
    template = yaml.safe_load(TEMPLATE.read_text())
    for parameter in template["parameterDefinitions"]:
        if parameter["type"] == "PATH":
            assert not str(parameter.get("default", "")).startswith("/")
    text = "\n".join(line for line in TEMPLATE.read_text().splitlines() if line[:1] != "#")
    assert "RawParam" not in text


@needs_openjd
def test_the_summary_counts_the_rows(show: Path) -> None:
    given = [f"Manifest={show}/jobs.jsonl", f"OutputDir={show}/out", "Rows=1-10"]
    done = openjd("summary", str(TEMPLATE), *(part for v in given for part in ("-p", v)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Total tasks: 10" in done.stdout


@needs_openjd
def test_tasks_are_rows_in_chunks_with_paths_of_the_worker(show: Path) -> None:
    rule = {"source_path_format": "POSIX", "source_path": "/mnt/show",
            "destination_path": str(show)}  # fmt: skip
    rules = show / "rules.json"
    rules.write_text(json.dumps({"version": "pathmapping-1.0", "path_mapping_rules": [rule]}))
    given = ["Manifest=/mnt/show/jobs.jsonl", "OutputDir=/mnt/show/out", "Rows=1-7",
             "RowsPerTask=3", f"Cnx={show}/cnx", "Config=--steps 2"]  # fmt: skip
    done = openjd(
        "run", str(TEMPLATE), "--step", "Clips", *(part for v in given for part in ("-p", v)),
        "--path-mapping-rules", rules.as_uri(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    words = [call.split() for call in calls(show)]
    assert [w[w.index("--rows") + 1] for w in words] == ["1-3", "4-5", "6-7"]
    expected = f"batch {show}/jobs.jsonl --output-dir {show}/out --rows 1-3 --progress openjd"
    assert calls(show)[0] == f"{expected} --no-report --steps 2"


@needs_openjd
def test_a_task_that_fails_fails_the_session(show: Path) -> None:
    given = [f"Manifest={show}/jobs.jsonl", f"OutputDir={show}/out", "Rows=13", f"Cnx={show}/cnx"]
    values = [part for value in given for part in ("-p", value)]
    done = openjd("run", str(TEMPLATE), "--step", "Clips", *values)
    assert done.returncode != 0
    assert "exited with code: 3" in done.stdout


@needs_openjd
def test_rows_are_translated_for_the_template(
    show: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = str(show / "jobs.jsonl")
    arguments = [manifest, "--output-dir", str(show / "out"), "--rows", "1-7x3"]
    assert parameters([*arguments, "--", "--model", "my model"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["Rows"] == "1-7:3"
    assert values["Config"] == "--model 'my model'"
    file = show / "parameters.json"
    file.write_text(json.dumps({**values, "Cnx": str(show / "cnx"), "Config": ""}))
    done = openjd("run", str(TEMPLATE), "--step", "Clips", "-p", file.as_uri())
    assert done.returncode == 0, done.stdout + done.stderr
    assert [call.split()[5] for call in calls(show)] == ["1-1", "4-4", "7-7"]
    assert parameters([str(show / "no.jsonl"), "--output-dir", "x", "--rows", "1"]) == 2
    assert parameters([manifest, "--output-dir", "x", "--rows", "1:3"]) == 2


@pytest.mark.parametrize(
    ("task", "size", "rows"), [("1", None, "1-1"), ("3", "10", "21-30"), ("1", "4", "1-4")]
)
def test_the_sbatch_script_makes_its_rows(
    show: Path, task: str, size: str | None, rows: str
) -> None:
    environment = {**os.environ, "CNX": str(show / "cnx"), "SLURM_ARRAY_TASK_ID": task}
    if size:
        environment["CNX_ROWS_PER_TASK"] = size
    command = ["sh", str(SBATCH), "jobs.jsonl", "clips out", "--steps", "3"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    expected = f"batch jobs.jsonl --output-dir clips out --rows {rows}"
    assert calls(show) == [f"{expected} --progress plain --no-report --steps 3"]


def test_the_sbatch_script_says_how_it_is_called() -> None:
    done = subprocess.run(["sh", str(SBATCH)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "usage: sbatch --array" in done.stderr


def test_rows_go_into_tasks() -> None:
    assert tasks_of(range(1, 8), 3) == ["1-3", "4-6", "7"]
    assert tasks_of([1, 4, 7, 20], 3) == ["1-7x3", "20"]


@pytest.mark.slow
def test_submitit_runs_the_tasks_here(show: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("submitit")
    manifest = show / "jobs.jsonl"
    row = {name: str(path) for name, path in write_scene(show).items()}
    rows = [{**row, "output": name} for name in ("a.mp4", "b.mp4")]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = [str(manifest), "--output-dir", str(show / "out"), "--rows", "1-2"]
    arguments += ["--rows-per-task", "1", "--logs", str(show / "logs"), "--local"]
    assert slurm([*arguments, "--", "--dry-run"]) == 0
    shown = capfd.readouterr().out
    assert shown.startswith("2 tasks")
    assert shown.count(": done") == 2
    assert slurm([*arguments, "--", "--no-such-option"]) == 1
    assert capfd.readouterr().out.count("failed (2)") == 2


def test_mistakes_before_anything_is_queued(
    show: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = [str(show / "jobs.jsonl"), "--output-dir", str(show / "out"), "--logs", str(show / "l")]
    assert slurm([str(show / "no.jsonl"), "--output-dir", "o", "--rows", "1"]) == 2
    assert slurm([*here, "--rows", "5-1"]) == 2
    assert slurm([*here, "--rows", "1", "--rows-per-task", "0", "--local"]) == 2
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert slurm([*here, "--rows", "1"]) == 2
    shown = capsys.readouterr().err
    for words in ("does not exist", "A <= B", "rows per task 0", "cnx-animate[slurm]"):
        assert words in shown


def words_of_cnx(text: str) -> list[str]:
    """The words after `cnx batch` in a command."""
    words = shlex.split(text)
    return words[words.index("batch") + 1 :]


def test_a_ray_jobs_command_is_one_of_ours() -> None:
    job = yaml.safe_load((FARM / "kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    given = parse(batch_parser(), words_of_cnx(job["spec"]["entrypoint"]))
    [workers] = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert given.executor == "ray"
    assert given.jobs == workers["replicas"] == workers["maxReplicas"]
    pods = [workers, job["spec"]["rayClusterSpec"]["headGroupSpec"]]
    for pod in pods:
        spec = pod["template"]["spec"]
        [container] = spec["containers"]
        assert container["resources"]["limits"] == container["resources"]["requests"]
        assert {m["name"] for m in container["volumeMounts"]} == {
            v["name"] for v in spec["volumes"]
        }
        assert container["volumeMounts"][0]["mountPath"] == str(given.staging)
    text = (FARM / "ray-job.yaml").read_text()
    command = "".join(line.lstrip("# ").rstrip("\\") for line in text.splitlines()[2:4])
    assert parse(batch_parser(), words_of_cnx(command)).jobs == 8
    assert set(yaml.safe_load(text)) == {"env_vars"}


def test_images_install_the_package_with_known_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    dockerfile = (FARM / "Dockerfile").read_text()
    definition = (FARM / "apptainer.def").read_text()
    [extras] = re.findall(r"^ARG EXTRAS=(\S+)$", dockerfile, re.MULTILINE)
    [named] = re.findall(r"/opt/cnx-animate\[(\S+)\]", definition)
    assert named == extras
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    [torch] = [each for each in project["dependencies"] if each.startswith("torch")]
    assert torch in dockerfile
    for script in ("FROM", "RUN", "COPY", "ENTRYPOINT", "USER"):
        assert re.search(rf"^{script} ", dockerfile, re.MULTILINE)


def test_the_images_demo_is_a_clip(tmp_path: Path) -> None:
    (tmp_path / "cnx").write_text('#!/bin/sh\necho "$@" > "$CALLS"\n')
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for name in ("cnx", "python"):
        (tmp_path / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "CNX_SOURCE": str(ROOT),
        "CALLS": str(tmp_path / "calls"),
    }
    out = tmp_path / "out put"
    out.mkdir()
    subprocess.run(
        ["sh", str(FARM / "demo.sh"), str(out)], check=True, env=environment, timeout=300
    )
    assert {path.name for path in out.iterdir()} >= {"reference.png", "driving.mp4"}
    assert f"--output {out}/clip.mp4" in (tmp_path / "calls").read_text()
