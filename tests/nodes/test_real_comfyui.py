"""The pack in a real ComfyUI, over its HTTP interface on loopback.

CNX_COMFYUI names a checkout, CNX_COMFYUI_PYTHON the Python that has its requirements (this one
otherwise).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from animate.media import write_png
from tests.scene import picture, poses

ROOT = Path(__file__).parent.parent.parent
PACK = ROOT / "configs" / "comfyui" / "cnx_animate"
CHECKOUT = os.environ.get("CNX_COMFYUI")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHECKOUT, reason="CNX_COMFYUI names no checkout of ComfyUI"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("comfyui")
    shutil.copytree(PACK, base / "custom_nodes" / "cnx_animate")
    (base / "input").mkdir()
    write_png(base / "input" / "reference.png", picture((128, 128)))
    poses(6, size=(128, 128), fps=Fraction(30000, 1001)).save(base / "input" / "poses.npz")
    return base


@pytest.fixture(scope="module")
def server(base: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    python = os.environ.get("CNX_COMFYUI_PYTHON", sys.executable)
    command = [python, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port)]
    command += ["--disable-api-nodes", "--base-directory", str(base)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with open(base / "log", "w") as log:
        process = subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield waited_for(f"http://127.0.0.1:{port}", process, base / "log")
        finally:
            process.terminate()
            process.wait(timeout=60)


def waited_for(address: str, process: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            asked(address, "/queue")
            return address
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text())


def asked(address: str, path: str, value: Any = None) -> Any:
    data = None if value is None else json.dumps(value).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address + path, data, headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def run(address: str, graph: Any) -> Any:
    number = asked(address, "/prompt", {"prompt": graph})["prompt_id"]
    for _ in range(600):
        if history := asked(address, f"/history/{number}"):
            return history[number]
        time.sleep(0.5)
    raise AssertionError("the prompt did not end")


def test_the_example_runs_and_mistakes_are_named(base: Path, server: str) -> None:
    info = asked(server, "/object_info")
    assert {"CnxLoadModel", "CnxAnimate", "CnxSaveClip"} <= info.keys()
    graph = json.loads((PACK / "example_workflows" / "animate-with-poses.json").read_text())
    graph["5"]["inputs"]["retarget"] = "none"
    history = run(server, graph)
    assert history["status"]["status_str"] == "success", history["status"]
    [saved] = history["outputs"]["6"]["images"]
    file = base / "output" / saved["subfolder"] / saved["filename"]
    with av.open(str(file)) as clip:
        assert clip.streams.video[0].average_rate == Fraction(30000, 1001)
        assert clip.streams.video[0].frames == 6
    del graph["5"]["inputs"]["poses"]
    messages = dict(run(server, graph)["status"]["messages"])
    assert "connect poses or control_frames" in messages["execution_error"]["exception_message"]
