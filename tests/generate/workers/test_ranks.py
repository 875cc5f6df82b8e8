from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from animate.cli.main import main
from tests.generate.workers.contract import (
    CHECKS,
    a_clip_of_one_window,
    every_schedule_solver_and_guidance,
    half_precision_too,
)
from tests.scene import write_scene
from tests.toy import toy_model

ROOT = Path(__file__).parents[3]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

LONG = (every_schedule_solver_and_guidance, a_clip_of_one_window, half_precision_too)
"""Parts of the contract that say nothing of ranks which the others do not say."""


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*TORCHRUN, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip


def outcomes(checks: list[str], model: Path) -> dict[str, str]:
    """Outcomes of parts of the contract on two ranks, by name."""
    done = torchrun("tests/generate/workers/ranks_program.py", str(model), *checks)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULTS ")]
    assert done.returncode == 0, done.stderr[-3000:]
    results: dict[str, str] = json.loads(lines[0].removeprefix("RESULTS "))
    return results


SHORT = [check.__name__ for check in CHECKS if check not in LONG]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return outcomes(SHORT, tmp_path_factory.mktemp("m") / "toy")


@pytest.mark.parametrize("check", SHORT)
def test_contract(check: str, results: dict[str, str]) -> None:
    assert results[check] == "passed", results[check]


@pytest.mark.slow
def test_the_long_parts_of_the_contract(tmp_path: Path) -> None:
    results = outcomes([check.__name__ for check in LONG], tmp_path / "toy")
    assert results == {check.__name__: "passed" for check in LONG}


@pytest.mark.slow
def test_the_command_itself_under_torchrun(tmp_path: Path) -> None:
    toy_model(tmp_path / "toy")
    files = {**write_scene(tmp_path), "model": tmp_path / "toy", "retarget": "none", "threads": 1}
    given = [str(part) for name, value in files.items() for part in (f"--{name}", value)]
    shared = ["-m", "animate.cli.main", "run", *given, "--output", str(tmp_path / "shared.mp4")]
    done = torchrun(*shared, "--progress", "alf")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("ALF_PROGRESS 100%") == 1, "one process speaks"
    assert main(["run", *given, "--output", str(tmp_path / "alone.mp4"), "--quiet"]) == 0
    records = [json.loads((tmp_path / f"{n}.json").read_text()) for n in ("shared", "alone")]
    frames = [record["output"]["frames_sha256"] for record in records]
    assert frames[0] == frames[1]
    assert records[0]["windows"].startswith("2 processes of torchrun")
    again = torchrun(*shared)
    assert again.returncode != 0
    assert again.stderr.count("exists already") == 1
    both = torchrun(*shared, "--overwrite", "--workers", "2")
    assert "leave out --workers" in both.stderr


@pytest.mark.slow
def test_the_command_itself_with_ray(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    toy_model(tmp_path / "toy")
    files = {**write_scene(tmp_path), "model": tmp_path / "toy", "retarget": "none", "threads": 1}
    given = [str(part) for name, value in files.items() for part in (f"--{name}", value)]
    frames = []
    for name, more in (("alone", []), ("shared", ["--workers", "2"])):
        output = tmp_path / f"{name}.mp4"
        command = [sys.executable, "-m", "animate.cli.main", "run", *given, "--output", str(output)]
        done = subprocess.run(
            [*command, *more], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        frames.append(
            json.loads(output.with_suffix(".json").read_text())["output"]["frames_sha256"]
        )
    assert frames[0] == frames[1]
    assert "windows: 2 Ray worker(s) on this machine" in done.stderr
