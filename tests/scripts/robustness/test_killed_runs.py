"""The short form of the kill test: real processes, SIGKILL at random moments."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "kills"), [("run", 3), ("sequence", 2), ("batch", 2)])
def test_killed_commands_go_on_to_the_same_frames(kind: str, kills: int) -> None:
    script = "scripts/robustness/killed_runs.py"
    done = subprocess.run(
        [sys.executable, script, "--kind", kind, "--kills", str(kills), "--frames", "9"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{kills} killed, {kills} ended as if nothing had happened" in done.stdout
