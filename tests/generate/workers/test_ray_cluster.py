"""A cluster of our own is ours alone: loopback, a private folder, nothing left behind."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from animate.errors import ExecutorError
from animate.generate.workers import ray_cluster
from animate.generate.workers.ray_cluster import connect, disconnect, require_ray

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'cnx-animate[ray]'"
)


@pytest.fixture(autouse=True)
def own_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters of other processes come and go meanwhile; theirs have other names."""
    monkeypatch.setattr(ray_cluster, "_FOLDERS", f"cr{os.getpid()}-")


def folders() -> set[Path]:
    temporary = Path(min(tempfile.gettempdir(), "/tmp", key=len))
    return set(temporary.glob(f"{ray_cluster._FOLDERS}*"))


def listening(processes: list[psutil.Process]) -> dict[str, str]:
    """Address of every socket on which these processes listen."""
    return {
        f"{process.name()} {socket.laddr.port}": socket.laddr.ip
        for process in processes
        for socket in process.net_connections(kind="inet")
        if socket.status == psutil.CONN_LISTEN
    }


def is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def test_it_listens_on_loopback_alone_and_leaves_nothing() -> None:
    before, own = folders(), psutil.Process()
    children = set(own.children(recursive=True))
    connect(processors=1)
    try:
        ray = require_ray()

        @ray.remote
        def worker() -> int:
            return os.getpid()

        process = psutil.Process(ray.get(worker.remote(), timeout=120))
        started = set(own.children(recursive=True)) - children
        assert process in started
        addresses = listening([own, *started])
        assert len(addresses) >= 4  # the store of names, the node's manager, a worker, this driver
        assert all(map(is_loopback, addresses.values())), addresses
        [folder] = folders() - before
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        disconnect()
    assert not psutil.wait_procs(list(started), timeout=30)[1]
    assert folders() == before


def test_another_cluster_finds_the_switch_as_it_was() -> None:
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    with ray_cluster._on_loopback():
        assert not ray_constants.ENABLE_RAY_CLUSTER
    assert before == ray_constants.ENABLE_RAY_CLUSTER
    assert ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR not in os.environ


PROGRAM = """
import sys, time
from animate.cli.signals import raised_on_signals
from animate.generate.workers import ray_cluster
from animate.generate.workers.ray_cluster import connect
ray_cluster._FOLDERS = sys.argv[2]
with raised_on_signals():
    connect(processors=1)
    print("ready", flush=True)
    if sys.argv[1] == "error":
        raise ValueError("a stand-in")
    time.sleep(100)
"""


KILLED = pytest.param("SIGKILL", marks=pytest.mark.slow)  # Ray's agents take a minute to notice


@pytest.mark.parametrize("end", ["error", "SIGTERM", KILLED])
def test_however_a_run_ends_no_process_and_no_folder_stays(end: str) -> None:
    before = folders()
    arguments = [sys.executable, "-c", PROGRAM, end, ray_cluster._FOLDERS]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        ready = program.stdout.readline()
        assert ready == "ready\n", program.stderr and program.stderr.read()
        started = psutil.Process(program.pid).children(recursive=True)
        if end != "error":
            program.send_signal(getattr(signal, end))
        program.wait(60)
    assert not psutil.wait_procs(started, timeout=200)[1]
    if end == "SIGKILL":  # nobody was left to remove it: private, and gone with the next start
        [folder] = folders() - before
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        ray_cluster._remove_if_abandoned(folder)
    assert folders() == before


def test_folders_that_are_in_use_or_of_others_stay(tmp_path: Path) -> None:
    with ray_cluster._private_folder() as folder:
        ray_cluster._remove_if_abandoned(folder)
        assert folder.is_dir()
    assert not folder.exists()
    foreign = tmp_path / "cnx-ray-mine"
    foreign.mkdir(mode=0o700)
    (foreign / "thesis.txt").write_text("mine")
    link = tmp_path / "cnx-ray-link"
    link.symlink_to(foreign)
    for path in (foreign, link):
        ray_cluster._remove_if_abandoned(path)
        assert (path / "thesis.txt").read_text() == "mine"


def test_a_start_that_fails_leaves_nothing_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A node that is late raises a bare exception, and leaves the processes that it has started."""
    processes: list[subprocess.Popen[bytes]] = []

    class Node:
        def __init__(self) -> None:
            self.all_processes: dict[str, Any] = {}
            process = subprocess.Popen(["sleep", "600"])
            processes.append(process)
            self.all_processes["raylet"] = [SimpleNamespace(process=process)]
            raise Exception("The current node timed out during startup")

    ray = ray_cluster.require_ray()
    monkeypatch.setattr(ray, "init", lambda **options: Node())
    with pytest.raises(ExecutorError, match="does not start on this machine"):
        ray_cluster.connect(processors=1)
    assert len(processes) == ray_cluster._STARTS
    assert all(process.poll() is not None for process in processes)
