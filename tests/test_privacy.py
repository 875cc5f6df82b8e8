"""Nothing is written or sent that nobody asked for: no identifiers, databases or requests."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

from animate.media import open_writer, write_png
from scripts.tiny.characters import render_clip

ROOT = Path(__file__).parent.parent
SIZE = (128, 192)
FORBID = """
import sys

def forbid(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"):
        raise PermissionError(f"{event} {arguments}")

sys.addaudithook(forbid)
from animate.cli.main import main

sys.exit(main(sys.argv[1:]))
"""


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_a_run_in_an_empty_home_writes_only_what_is_ours(tmp_path: Path) -> None:
    """The estimator, the networks and the video library, with every kind of socket forbidden."""
    home, work = tmp_path / "home", tmp_path / "work"
    work.mkdir()
    take = render_clip(7, 4, SIZE, shot="full")
    write_png(work / "still.png", take.reference)
    with open_writer(work / "dance.mp4", size=SIZE, fps=Fraction(12)) as writer:
        for frame in take.frames:
            writer.write(frame)
    folders = {f"XDG_{name}_HOME": home / name.lower() for name in ("CACHE", "CONFIG", "DATA")}
    for folder in (home, *folders.values(), home / "tmp"):
        folder.mkdir()
    decided = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "HF_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in decided}
    environment |= {name: str(folder) for name, folder in folders.items()}
    environment |= {"HOME": str(home), "TMPDIR": str(home / "tmp"), "PYTHONPATH": str(ROOT)}
    options = ["--model", "tiny", "--steps", "1", "--size", "64x96", "--quiet"]
    inputs = ["--reference", "still.png", "--driving", "dance.mp4", "--output", "clip.mp4"]
    done = subprocess.run(
        [sys.executable, "-c", FORBID, "run", *inputs, *options],
        cwd=work,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    made = files(work) - {"still.png", "dance.mp4"}
    assert "clip.mp4" in made
    assert all(name.startswith("clip.") for name in made)
    written = files(home)
    poses = {name for name in written if name.startswith("cache/cnx-animate/poses/")}
    assert len(poses) == 2  # the poses, and paces.json
    assert written == poses


def test_the_users_own_choice_on_telemetry_stands(tmp_path: Path) -> None:
    code = "import os; from pose.estimators.sessions import runtime; runtime(); "
    code += "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for choice in ("0", None):
        environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
        environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
        environment |= {} if choice is None else {"ORT_DISABLE_TELEMETRY": choice}
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == (choice or "1")
