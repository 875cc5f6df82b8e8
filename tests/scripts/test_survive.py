"""The short form of the kill test: real processes, SIGKILL at random moments."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_killed_runs_of_the_bundled_model_go_on_to_the_same_frames() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/survive.py", "--kills", "3", "--frames", "9"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 killed, 3 ended as if nothing had happened" in done.stdout
