"""Windows of one clip over the processes of `torchrun`: the same work without Ray.

Every process runs the same command. Rank 0 does everything that is done once (poses, noise, the
solver, files) and its share of the windows; the others wait for networks and windows. What travels
goes through gloo on the host, whatever the devices are.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from animate.errors import ExecutorError
from animate.generate.denoise import Call, Predict
from animate.generate.workers.packing import Packed, networks_of, pack, portable, unpack
from animate.generate.workers.protocol import ClipWork
from animate.generate.workers.serial import samples
from animate.generate.workers.worker import WindowPredict, window_worker
from animate.models.components import Components

_STARTED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "LOCAL_RANK")
_PATIENCE = timedelta(days=7)
"""Others wait while rank 0 estimates poses and decodes; `torchrun` ends them if it dies."""


def started_by_torchrun() -> bool:
    """Whether this process is one of several that `torchrun` has started."""
    return all(name in os.environ for name in _STARTED) and int(os.environ["WORLD_SIZE"]) > 1


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """This process among the others, until the end of the block.

    device: as in a request; "auto" takes a GPU for each process where there are any
    """
    from accelerate import PartialState

    on_cpu = device == "cpu" or not torch.cuda.is_available()
    threads = torch.get_num_threads()
    state = PartialState(cpu=on_cpu, timeout=_PATIENCE)
    torch.set_num_threads(threads)  # accelerate has its own idea of it
    ranks = Ranks(state.process_index, state.num_processes, state.device)
    try:
        yield ranks
    except KeyboardInterrupt:
        raise  # every process was interrupted; nobody listens any more
    except BaseException:
        ranks.close()
        raise
    ranks.close()
    state.destroy_process_group()


class Ranks:
    """A `WindowExecutor` on rank 0; on the others, `serve` is all that is called."""

    def __init__(self, rank: int, workers: int, device: torch.device) -> None:
        """`device` is where this rank computes."""
        self.rank, self.workers, self.device = rank, workers, device
        self._wire = dist.new_group(backend="gloo", timeout=_PATIENCE)
        self._parts: Components | None = None
        self._listening = rank == 0 and workers > 1
        """Whether the others wait for the next word of rank 0."""

    def describe(self) -> str:
        """See `WindowExecutor`."""
        return f"{self.workers} processes of torchrun, {torch.get_num_threads()} thread(s) each"

    @contextmanager
    def open(
        self, parts: Components, work: ClipWork, on_window: Callable[[int], None]
    ) -> Iterator[Predict]:
        """See `WindowExecutor`."""
        if parts is not self._parts:
            self._tell("networks", torch.get_num_threads())
            self._send_packed(pack(networks_of(parts)))
            self._parts = parts
        self._tell("clip")
        self._send_packed(pack(portable(work)))
        with window_worker(parts, work, self.device) as compute:

            def predict(sample_WSCHW: Tensor, control: Tensor | None, call: Call) -> Tensor:
                rows = samples(sample_WSCHW, call, work)
                return self._step(rows, call.step, compute, on_window)

            yield predict

    def close(self) -> None:
        """Rank 0 lets the others go; safe to call twice."""
        if self._listening:
            self._listening = False
            self._tell("end")

    def serve(self) -> None:
        """Compute windows for rank 0 until it says that all is done."""
        parts: Components | None = None
        compute: WindowPredict | None = None
        with ExitStack() as stack:
            while True:
                word, *values = self._told()
                if word == "end":
                    return
                if word == "networks":
                    stack.close()
                    torch.set_num_threads(values[0])
                    parts = unpack(self._receive_packed())
                elif word == "clip":
                    stack.close()
                    work = unpack(self._receive_packed())
                    assert parts is not None
                    compute = stack.enter_context(window_worker(parts, work, self.device))
                else:
                    assert compute is not None
                    self._share(compute, *values)

    def _step(
        self,
        rows: np.ndarray,
        step: int,
        compute: WindowPredict,
        on_window: Callable[[int], None],
    ) -> Tensor:
        """All windows of a step: every rank those that it is due, put back in window order."""
        self._tell("step", step, rows.shape)
        self._listening = False  # if this ends here, nobody would understand another word
        sample = torch.from_numpy(rows)
        for rank in range(1, self.workers):
            share = sample[rank :: self.workers].contiguous()
            if len(share):
                dist.send(share, rank, group=self._wire)
        own, failure = _attempt(compute, step, range(0, len(rows), self.workers), rows, on_window)
        failures: list[Any] = [None] * self.workers
        dist.gather_object(failure, failures, 0, group=self._wire)
        predictions = torch.empty_like(sample)
        if own is not None:
            predictions[:: self.workers] = own
        for rank in range(1, self.workers):
            share = predictions[rank :: self.workers].contiguous()
            if len(share) and failures[rank] is None:
                dist.recv(share, rank, group=self._wire)
                predictions[rank :: self.workers] = share
                on_window(len(share))
        self._listening = True
        for rank, failed in enumerate(failures):
            if isinstance(failed, Exception):
                raise failed
            if failed is not None:
                raise ExecutorError(f"rank {rank} of torchrun failed: {failed}")
        return predictions

    def _share(self, compute: WindowPredict, step: int, shape: tuple[int, ...]) -> None:
        """This rank's windows of a step."""
        places = range(self.rank, shape[0], self.workers)
        sample = torch.empty(len(places), *shape[1:])
        if len(places):
            dist.recv(sample, 0, group=self._wire)
        whole = np.empty(shape, np.float32)
        whole[self.rank :: self.workers] = sample.numpy()
        own, failure = _attempt(compute, step, places, whole, lambda windows: None)
        dist.gather_object(failure, None, 0, group=self._wire)
        if own is not None and len(places):
            dist.send(own, 0, group=self._wire)

    def _tell(self, *words: Any) -> None:
        dist.broadcast_object_list([words], 0, group=self._wire)

    def _told(self) -> tuple[Any, ...]:
        words: list[Any] = [None]
        dist.broadcast_object_list(words, 0, group=self._wire)
        return words[0]

    def _send_packed(self, packed: Packed) -> None:
        self._tell(packed.pickled, packed.kinds, [array.size for array in packed.arrays])
        for array in packed.arrays:
            if array.size:
                dist.broadcast(torch.from_numpy(array), 0, group=self._wire)

    def _receive_packed(self) -> Packed:
        pickled, kinds, sizes = self._told()
        arrays = []
        for size in sizes:
            tensor = torch.empty(size, dtype=torch.uint8)
            if size:
                dist.broadcast(tensor, 0, group=self._wire)
            arrays.append(tensor.numpy())
        return Packed(pickled=pickled, arrays=tuple(arrays), kinds=kinds)


def _attempt(
    compute: WindowPredict,
    step: int,
    places: range,
    rows: np.ndarray,
    on_window: Callable[[int], None],
) -> tuple[Tensor | None, Exception | None]:
    """The predictions of some windows, or what went wrong, as something that can travel."""
    predictions = []
    try:
        for place in places:
            predictions.append(compute(step, place, rows[place]))
            on_window(1)
    except Exception as reason:
        try:
            pickle.loads(pickle.dumps(reason))
            return None, reason
        except Exception:
            return None, ExecutorError(f"{type(reason).__name__}: {reason}")
    shape = (len(predictions), *rows.shape[1:])
    stacked = np.stack(predictions) if predictions else np.empty(shape, np.float32)
    return torch.from_numpy(stacked), None
