from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from animate.errors import ExecutorError
from animate.generate.workers.ray_cluster import connect, disconnect, require_ray
from animate.generate.workers.ray_windows import RayWindows
from tests.generate.workers.contract import CHECKS, Scene, make_scene

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'cnx-animate[ray]'"
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    torch.set_num_threads(1)
    return make_scene(tmp_path_factory.mktemp("model") / "toy")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One cluster for all of this file; starting one takes seconds."""
    connect(processors=3)
    yield
    disconnect()


@pytest.fixture(scope="module")
def executor(cluster: None) -> Iterator[RayWindows]:
    workers = RayWindows(2, limit=120)
    yield workers
    workers.close()
    workers.close()


@needs_ray
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(check: Callable[..., None], executor: RayWindows, scene: Scene) -> None:
    check(executor, scene)


@needs_ray
def test_a_worker_killed_in_the_middle_of_a_step_costs_nothing_but_time(
    executor: RayWindows, scene: Scene
) -> None:
    expected = scene.latents(None, steps=4)
    scene.latents(executor)
    victim = executor.pids()[0]
    killed: list[float] = []

    class Watched:
        """Kills the worker once the first window of the clip is there."""

        workers = 2

        def open(self, parts: Any, work: Any, on_window: Callable[[int], None]) -> Any:
            def kill(windows: int) -> None:
                if not killed:
                    os.kill(victim, signal.SIGKILL)
                    killed.append(time.monotonic())
                on_window(windows)

            return executor.open(parts, work, kill)

        def describe(self) -> str:
            return ""

        def close(self) -> None: ...

    assert torch.equal(scene.latents(Watched(), steps=4), expected)
    assert killed
    assert victim not in executor.pids()


@needs_ray
def test_workers_that_do_nothing_for_too_long_are_given_up(cluster: None, scene: Scene) -> None:
    executor = RayWindows(1, limit=0.01)
    with pytest.raises(ExecutorError, match=r"--worker-limit|start together"):
        scene.latents(executor)
    executor.close()


def rooms() -> int:
    """Placement groups that somebody has, or waits for."""
    groups = require_ray().util.placement_group_table().values()
    return sum(1 for group in groups if group["state"] != "REMOVED")


@needs_ray
@pytest.mark.parametrize("trouble", ["too slow", "interrupted"])
def test_workers_that_could_not_start_keep_no_room(
    cluster: None, scene: Scene, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rooms()
    executor = RayWindows(1, limit=120)

    groups = importlib.import_module("ray.util.placement_group")  # also a function's name there
    wait = groups.PlacementGroup.wait
    settled: list[bool] = []

    def fails(group: Any, seconds: float) -> bool:
        if seconds > 30:
            if trouble == "interrupted":
                raise KeyboardInterrupt
            return False
        settled.append(wait(group, seconds))
        return settled[-1]

    monkeypatch.setattr(groups.PlacementGroup, "wait", fails)
    expected: dict[str, type[BaseException]] = {"too slow": ExecutorError}
    with pytest.raises(expected.get(trouble, KeyboardInterrupt)):
        scene.latents(executor)
    until = time.monotonic() + 20
    while rooms() > before and time.monotonic() < until:
        time.sleep(0.1)
    assert rooms() == before
    assert settled == [True]  # it was made before it was taken down, or Ray might lose it
    monkeypatch.undo()
    scene.latents(executor)  # and can start the next time
    assert rooms() == before + 1
    executor.close()


@needs_ray
def test_more_workers_than_the_cluster_has_is_an_error_at_once(cluster: None, scene: Scene) -> None:
    executor = RayWindows(500)
    with pytest.raises(ExecutorError, match=r"500 workers need 500 processors; .* has 3"):
        scene.latents(executor)
    executor.close()


def test_a_cluster_that_was_met_is_left_after_starts_that_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    met = iter([True, False])  # Ray stays connected when the first start fails
    left: list[int] = []

    def too_few(*given: Any) -> None:
        raise ExecutorError("ask for fewer workers")

    home = "animate.generate.workers.ray_windows"
    monkeypatch.setattr(f"{home}.connect", lambda *given, **named: next(met))
    monkeypatch.setattr(f"{home}.disconnect", lambda: left.append(1))
    monkeypatch.setattr(f"{home}.check_resources", too_few)
    executor = RayWindows(2)
    for _ in range(2):
        with pytest.raises(ExecutorError):
            executor._start(0)
    executor.close()
    executor.close()
    assert left == [1]


@needs_ray
@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "does not answer .*refused"),
        ("nowhere.invalid:6379", "does not answer"),
        ("head", "not HOST:PORT"),
        ("ray://head:10001", "not HOST:PORT"),
    ],
)
def test_an_address_that_does_not_answer(address: str, message: str) -> None:
    began = time.monotonic()
    with pytest.raises(ExecutorError, match=message):
        unconnected(lambda: connect(address, processors=1))
    assert time.monotonic() - began < 20


@needs_ray
@pytest.mark.slow
def test_something_else_that_listens_is_no_cluster() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ExecutorError, match="does not answer as the head of a Ray cluster"):
            unconnected(lambda: connect(address, processors=1))


def unconnected(call: Callable[[], object]) -> None:
    """Run a call in a process that is not connected, as far as `connect` can see."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ray.is_initialized", lambda: False)
        call()


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ExecutorError, match=r"pip install 'cnx-animate\[ray\]'"):
        connect(processors=1)


@needs_ray
def test_our_own_handler_of_sigterm_stays(cluster: None) -> None:
    assert threading.current_thread() is threading.main_thread()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@needs_ray
def test_ray_is_told_to_count_nobody_and_to_ask_for_a_token(cluster: None) -> None:
    ray = require_ray()

    @ray.remote(num_cpus=0)  # the processors may all be taken by workers
    def environment() -> dict[str, str]:
        return dict(os.environ)

    seen = ray.get(environment.remote(), timeout=60)
    assert seen["RAY_USAGE_STATS_ENABLED"] == "0"
    assert os.environ.get("RAY_AUTH_MODE") == "token" or Path.home().joinpath(".ray").exists()
