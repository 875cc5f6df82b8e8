from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator

import pytest

from animate.batch.executor import JobExecutor
from animate.batch.executors import make_executor
from animate.errors import ExecutorError, RequestError
from animate.generate.workers.ray_cluster import connect, disconnect
from tests.batch.executor_contract import ExecutorContract, WorkerProcesses, start

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'cnx-animate[ray]'"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    connect(processors=2)
    yield
    disconnect()


@needs_ray
@pytest.mark.usefixtures("cluster")
class TestRay(WorkerProcesses):
    def make(self, workers: int) -> JobExecutor:
        return make_executor("ray", workers)


@needs_ray
@pytest.mark.usefixtures("cluster")
def test_a_task_that_takes_too_long_is_ended() -> None:
    executor = make_executor("ray", 1, time_limit=1.0)
    executor.open(start, lambda number, message: None)
    outcomes = ExecutorContract.do(executor, ("sleep", 60), ("echo", 5))
    executor.close()
    assert outcomes[0].failure is not None
    assert outcomes[0].failure.kind == "time-limit"
    assert outcomes[1].value == 5


@needs_ray
def test_a_cluster_that_does_not_answer_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    executor = make_executor("ray", 1, address="127.0.0.1:1")
    began = time.monotonic()
    with pytest.raises(ExecutorError, match=r"127\.0\.0\.1:1 does not answer"):
        executor.open(start, lambda number, message: None)
    assert time.monotonic() - began < 20


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ExecutorError, match=r"pip install 'cnx-animate\[ray\]'"):
        make_executor("ray")


@needs_ray
@pytest.mark.parametrize("options", [{"workers": 0}, {"time_limit": 0.0}])
def test_numbers_that_make_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(RequestError):
        make_executor("ray", **options)  # type: ignore[arg-type]
