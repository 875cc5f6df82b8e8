"""Meeting a Ray cluster: a named one that answers, or one of our own on this machine.

Ray is an extra; it is imported here and in the files that build on this one. Its usage statistics
stay off and its token authentication stays as it is: on, for clusters that it starts.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from animate.errors import ExecutorError

_CONNECT_SECONDS = 3.0
_ANSWER_SECONDS = 10.0
_END_SECONDS = 60.0
_STARTS = 3
"""Attempts to start a cluster: Ray gives up after 30 seconds, which a busy machine can need."""
_LEAST_STORE = 96 * 2**20  # Ray refuses less than 75 MiB
_OURS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Its coming default; without it Ray warns of the change on every machine without a GPU.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Workers run as urgently as the process they work for; by default they stand back by 15, and on
    # a busy machine hardly run at all.
    "RAY_worker_niceness": "0",
}

_FOLDERS = "cnx-ray-"
_session = ExitStack()
"""Undoes what this process has set up for a cluster of its own: its folder."""


def require_ray() -> Any:
    """The `ray` module. Raises ExecutorError that names the extra."""
    try:
        with _environment(_OURS), _signals_kept():
            import ray
    except ImportError as reason:
        raise ExecutorError(
            f"Ray is not installed ({reason}); install it: pip install 'cnx-animate[ray]'"
        ) from reason
    return ray


def connect(address: str | None = None, *, processors: int, store: int = 0) -> bool:
    """Connect this process to Ray unless it is; returns whether it is ours to leave.

    address: of a cluster's head, HOST:PORT, or "auto" for the one that this machine belongs to;
        None starts one on this machine alone, which ends with this process
    processors: logical processors of a cluster that is started
    store: bytes that shall fit into its object store at once
    Raises ExecutorError, within seconds, when a named cluster does not answer.
    """
    ray = require_ray()
    if ray.is_initialized():
        return False
    with _environment(_OURS), _signals_kept():
        if address is None:
            _start(ray, processors, store)
            return True
        _check_answers(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as reason:
            raise ExecutorError(f"Ray cluster {address}: {reason}") from reason
    return True


def _start(ray: Any, processors: int, store: int) -> None:
    """Start Ray here: on loopback alone, with its files in a folder that nobody else may enter (its
    own is open to all users of the machine). It ends with this process at the latest."""
    # Workers of this machine find modules as this process does.
    path = {"PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}
    folder = _session.enter_context(_private_folder())
    atexit.register(disconnect)
    with _environment(path, always=True), _on_loopback():
        for attempt in range(1, _STARTS + 1):
            try:
                ray.init(
                    address="local",
                    _temp_dir=str(folder / f"r{attempt}"),
                    num_cpus=processors,
                    include_dashboard=False,
                    object_store_memory=max(_LEAST_STORE, store),
                    log_to_driver=False,
                    logging_level="ERROR",
                )
                return
            except Exception as reason:  # Ray raises bare exceptions for a node that is late
                for process in _processes_of_failed_start(reason):
                    process.kill()
                    process.wait(_END_SECONDS)
                if attempt == _STARTS:
                    disconnect()
                    raise ExecutorError(
                        f"Ray does not start on this machine ({reason}); it may be too busy: try "
                        "again, or go without --workers and --executor ray"
                    ) from reason


def _processes_of_failed_start(error: BaseException) -> list[subprocess.Popen[bytes]]:
    """Processes that Ray had started before a start failed, which it leaves running.

    Only the node under construction knows them, and only the traceback still knows the node.
    """
    nodes = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    groups = [group for node in nodes for group in getattr(node, "all_processes", {}).values()]
    processes = {id(info.process): info.process for group in groups for info in group}
    return list(processes.values())


@contextmanager
def _on_loopback() -> Iterator[None]:
    """A node of Ray that starts in the block has the address 127.0.0.1, and listens there alone.

    By default its processes listen on all interfaces. The switch is the one that Ray has for
    desktop systems, and is read when it is imported: this process has it for the block only, as
    the driver of another cluster must be reached from there; processes of the node inherit it.
    """
    from ray._private import ray_constants  # nothing public sets it: 127.0.0.1 is replaced

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with _environment({ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}, always=True):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _private_folder() -> Iterator[Path]:
    """A folder for the files of a cluster, removed at the end; those of killed runs go as well.

    A lock in it is held as long as this process lives: a folder whose lock is free is nobody's.
    """
    short = min(tempfile.gettempdir(), "/tmp", key=len)  # names of sockets hold 107 bytes
    for older in Path(short).glob(f"{_FOLDERS}*"):
        _remove_if_abandoned(older)
    folder = Path(tempfile.mkdtemp(prefix=_FOLDERS, dir=short))
    lock = os.open(folder / "lock.new", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / "lock.new").rename(folder / "lock")  # it is never there without being held
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_if_abandoned(folder: Path) -> None:
    """Remove a folder of `_private_folder` whose process is gone; leave anything else alone."""
    with suppress(OSError):
        status = folder.lstat()
        private = stat.S_ISDIR(status.st_mode) and not stat.S_IMODE(status.st_mode) & 0o077
        if not private or status.st_uid != os.getuid():
            return
        lock = os.open(folder / "lock", os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: it is in use
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def disconnect() -> None:
    """Leave the cluster; one that `connect` started ends, with its processes and its files."""
    atexit.unregister(disconnect)
    ray = require_ray()
    processes = _started_processes()
    with _signals_kept():
        ray.shutdown()
    for process in processes:  # Ray kills them, and waits for each a second at most
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
    _session.close()


def _started_processes() -> list[subprocess.Popen[bytes]]:
    """Processes of the cluster that Ray has started from this one."""
    from ray._private import worker  # nothing public tells

    node = getattr(worker, "_global_node", None)
    groups = getattr(node, "all_processes", {}).values()
    return [info.process for group in groups for info in group]


def _check_answers(address: str) -> None:
    """Raise ExecutorError unless a cluster's head answers there.

    Ray itself tries for minutes and then ends the process.
    """
    if address == "auto":
        return  # looked up in files; Ray says at once when there is none
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ExecutorError(
            f"Ray address {address!r} is not HOST:PORT of a cluster's head (such as head:6379) or "
            "auto; this machine must belong to the cluster: ray start --address HOST:PORT"
        )
    cure = f"check it with `ray status --address {address}`"
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except OSError as reason:
        words = "no answer" if isinstance(reason, TimeoutError) else reason.strerror or reason
        raise ExecutorError(f"Ray cluster {address} does not answer ({words}); {cure}") from reason
    ask = "import sys, ray; ray._raylet.GcsClient(address=sys.argv[1])"
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", ask, address],
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ExecutorError(
            f"what listens at {address} does not answer as the head of a Ray cluster; {cure}"
        ) from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ExecutorError(f"Ray cluster {address} refuses: {last}; {cure}")


def check_resources(address: str | None, needed: Mapping[str, float], purpose: str) -> None:
    """Raise ExecutorError when the whole cluster has less than `needed`, idle or not."""
    ray = require_ray()
    available = ray.cluster_resources()
    for name, amount in needed.items():
        if available.get(name, 0.0) < amount:
            kind = {"CPU": "processors", "GPU": "GPUs"}[name]
            raise ExecutorError(
                f"{purpose} need {amount:g} {kind}; {address or 'this machine'} has "
                f"{available.get(name, 0.0):g}: ask for fewer workers"
            )


@contextmanager
def _environment(values: Mapping[str, str], *, always: bool = False) -> Iterator[None]:
    """Variables that Ray and the processes it starts read, unless the user has set them."""
    new = {name: value for name, value in values.items() if always or name not in os.environ}
    before = {name: os.environ.get(name) for name in new}
    os.environ.update(new)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray sets its own handler of SIGTERM; ours, which tidies up, comes back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
