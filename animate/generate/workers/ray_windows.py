"""Windows of one clip on Ray: actors that hold the networks and remember nothing else.

Networks go into the object store once; on one machine all workers use the same copy of them. Each
step, every window is a call of whichever worker is free. A worker that dies is started again by
Ray, which repeats the calls it had; since a call depends on its arguments only, the answer is the
same, and nothing is lost but time. How long nobody may finish anything is limited here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from animate.errors import ExecutorError
from animate.generate.denoise import Call, Predict
from animate.generate.network import ClipWork
from animate.generate.workers.packing import networks_of, pack, portable, unpack
from animate.generate.workers.protocol import WindowExecutor
from animate.generate.workers.ray_cluster import check_resources, connect, disconnect, require_ray
from animate.generate.workers.worker import WindowPredict, step_samples, window_worker
from animate.models.components import Components
from animate.request.request import RuntimeOptions

_IN_HAND = 2
"""Calls that a worker has at a time: one that it computes and one that is on its way."""
_GATHER_SECONDS = 60.0
_SETTLE_SECONDS = 2.0
"""Time for Ray to finish making a room before it is told to take it down: a room that goes while
it is being made may keep its processors, and others wait for ever (ray-project/ray#64693)."""


def ray_workers(runtime: RuntimeOptions, device: torch.device) -> WindowExecutor:
    """Ray workers as `runtime` names them. Raises ExecutorError where Ray is not installed.

    A worker on a CPU computes with one thread unless `threads` says otherwise: the bits may depend
    on it, so it must not depend on how many workers there are.
    """
    require_ray()
    assert runtime.workers is not None
    return RayWindows(
        runtime.workers,
        device=device,
        threads=runtime.threads or 1,
        address=runtime.ray_address,
        limit=runtime.worker_limit,
    )


@dataclass(frozen=True, kw_only=True)
class References:
    """References into Ray's object store, sent with every call: a worker that starts again finds
    everything there."""

    networks: Any
    """Reference to packed `Components`."""
    clip: Any
    """Reference to a packed `ClipWork`."""


class RayWindows:
    """A `WindowExecutor` on Ray."""

    def __init__(
        self,
        workers: int,
        *,
        device: torch.device | str = "cpu",
        threads: int = 1,
        address: str | None = None,
        limit: float = 1800.0,
    ) -> None:
        """Workers start with the first clip.

        workers: actors
        device: "cuda" gives each a GPU of its own, "cpu" none
        threads: of each on a CPU; the same number gives the same bits
        address: of a cluster; None starts one on this machine
        limit: seconds in which some worker must finish something
        """
        self.workers = workers
        self._device = torch.device(device).type
        self._threads, self._address, self._limit = threads, address, limit
        self._leave = False
        self._parts: Components | None = None
        self._actors: list[Any] = []
        self._group: Any = None
        self._networks: Any = None

    @contextmanager
    def open(
        self, parts: Components, work: ClipWork, on_window: Callable[[int], None]
    ) -> Iterator[Predict]:
        """See `WindowExecutor`."""
        ray = require_ray()
        if parts is not self._parts:
            packed = pack(networks_of(parts))
            if not self._actors:
                self._start(packed.size)
            self._networks, self._parts = ray.put(packed), parts
        references = References(networks=self._networks, clip=ray.put(pack(portable(work))))

        def predict(sample_WSCHW: Tensor, control: Tensor | None, call: Call) -> Tensor:
            return self._step(
                step_samples(sample_WSCHW, call, work), call.step, references, on_window
            )

        yield predict

    def describe(self) -> str:
        """See `WindowExecutor`."""
        where = f"cluster {self._address}" if self._address else "this machine"
        each = "a GPU each" if self._device == "cuda" else f"{self._threads} thread(s) each"
        return f"{self.workers} Ray worker(s) on {where}, {each}"

    def pids(self) -> list[int]:
        """Process of each worker, for whoever watches them."""
        ray = require_ray()
        return ray.get([actor.pid.remote() for actor in self._actors], timeout=self._limit)

    def close(self) -> None:
        """See `WindowExecutor`."""
        self._give_back()
        if self._leave:
            self._leave = False
            disconnect()

    def _give_back(self) -> None:
        """Workers and the room that was kept for them, or nobody else could have it."""
        actors, group = self._actors, self._group
        self._actors, self._group, self._parts, self._networks = [], None, None, None
        if not actors and group is None:
            return
        ray = require_ray()
        for actor in actors:
            ray.kill(actor)
        if group is None:
            return
        try:
            group.wait(_SETTLE_SECONDS)
        finally:
            ray.util.remove_placement_group(group)

    def _start(self, size: int) -> None:
        """Connect and start all workers together, or none; `size` bytes are the networks."""
        needed = {"CPU": float(self._threads)}
        if self._device == "cuda":
            needed["GPU"] = 1.0
        connected = connect(self._address, processors=self.workers * self._threads, store=2 * size)
        self._leave = connected or self._leave  # a start that failed has connected already
        everything = {name: amount * self.workers for name, amount in needed.items()}
        check_resources(self._address, everything, f"{self.workers} workers")
        try:
            self._gather(needed)
        except BaseException:
            self._give_back()
            raise

    def _gather(self, needed: dict[str, float]) -> None:
        """Keep room for all workers, `needed` for each, and start them there."""
        ray = require_ray()
        self._group = ray.util.placement_group([needed] * self.workers, strategy="PACK")
        if not self._group.wait(min(self._limit, _GATHER_SECONDS)):
            raise ExecutorError(
                f"{self.workers} workers could not start together within "
                f"{min(self._limit, _GATHER_SECONDS):g} s: the cluster is busy; try again later or "
                "with fewer --workers"
            )
        kind = ray.remote(_Worker)
        for index in range(self.workers):
            actor = kind.options(
                num_cpus=needed["CPU"],
                num_gpus=needed.get("GPU", 0),
                max_restarts=-1,
                max_task_retries=-1,
                scheduling_strategy=_bundle(self._group, index),
            )
            self._actors.append(actor.remote(self._device, self._threads))

    def _step(
        self, rows: np.ndarray, step: int, references: References, on_window: Callable[[int], None]
    ) -> Tensor:
        """All windows of a step, each by whoever is free, put back in window order."""
        ray = require_ray()
        predictions = np.empty_like(rows)
        waiting = list(reversed(range(len(rows))))
        hands = dict.fromkeys(range(len(self._actors)), 0)
        running: dict[Any, tuple[int, int]] = {}
        try:
            while waiting or running:
                while waiting and min(hands.values()) < _IN_HAND:
                    actor = min(hands, key=lambda index: hands[index])
                    row = waiting.pop()
                    call = self._actors[actor].predict.remote(references, step, row, rows[row])
                    running[call] = (row, actor)
                    hands[actor] += 1
                ready, _ = ray.wait(list(running), num_returns=1, timeout=self._limit)
                if not ready:
                    raise ExecutorError(
                        f"no worker has finished a window in {self._limit:g} s (step {step}, "
                        f"{len(running)} under way); see the cluster's logs, or give more time "
                        "with --worker-limit"
                    )
                row, actor = running.pop(ready[0])
                hands[actor] -= 1
                predictions[row] = self._answer(ready[0])
                on_window(1)
        except BaseException:
            with suppress(Exception):  # what ended the step matters more
                for call in running:
                    ray.cancel(call, force=False)
            raise
        return torch.from_numpy(predictions)

    def _answer(self, call: Any) -> np.ndarray:
        ray = require_ray()
        try:
            return ray.get(call)
        except ray.exceptions.RayTaskError as failure:
            if isinstance(failure.cause, Exception):  # what a worker raised, as it was raised
                raise failure.cause from failure
            raise
        except ray.exceptions.RayActorError as failure:
            raise ExecutorError(f"a worker could not be started again: {failure}") from failure


def _bundle(group: Any, index: int) -> Any:
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    return PlacementGroupSchedulingStrategy(
        placement_group=group, placement_group_bundle_index=index
    )


class _Worker:
    """An actor that keeps the networks and the clip of its last call for the next."""

    def __init__(self, device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self._device = torch.device(device)
        self._open = ExitStack()
        self._references: References | None = None
        self._parts: Components | None = None
        self._compute: WindowPredict | None = None

    def pid(self) -> int:
        """This worker's process."""
        return os.getpid()

    def predict(
        self, references: References, step: int, index: int, sample: np.ndarray
    ) -> np.ndarray:
        """One window; networks and clip are fetched when they are others."""
        if self._compute is None or references != self._references:
            self._take(references)
        assert self._compute is not None
        return self._compute(step, index, sample)

    def _take(self, references: References) -> None:
        ray = require_ray()
        before, self._compute = self._references, None
        self._open.close()
        if self._parts is None or before is None or before.networks != references.networks:
            self._parts = unpack(ray.get(references.networks))
        opened = window_worker(self._parts, unpack(ray.get(references.clip)), self._device)
        self._compute, self._references = self._open.enter_context(opened), references
