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
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from animate.errors import ExecutorError
from animate.generate.denoise import Call, Predict
from animate.generate.network import ClipWork
from animate.generate.workers.packing import Packed, networks_of, pack, portable, unpack
from animate.generate.workers.worker import WindowPredict, step_samples, window_worker
from animate.models.components import Components

_STARTED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "LOCAL_RANK")
_PATIENCE = timedelta(days=7)
"""Others wait while rank 0 estimates poses and decodes; `torchrun` ends them if it dies."""


@dataclass(frozen=True, kw_only=True)
class _Networks:
    """Rank 0 sends networks, which compute with so many threads."""

    threads: int


@dataclass(frozen=True, kw_only=True)
class _Clip:
    """Rank 0 sends a clip."""


@dataclass(frozen=True, kw_only=True)
class _Step:
    """Rank 0 sends each rank its windows of a step."""

    step: int
    shape: tuple[int, ...]
    """(W,S,C,H,W) of all windows."""


@dataclass(frozen=True, kw_only=True)
class _Tensors:
    """Tensors follow, after everything else of a `Packed`."""

    pickled: bytes
    kinds: tuple[tuple[str, tuple[int, ...], bool], ...]
    sizes: tuple[int, ...]
    """Bytes of each tensor."""


@dataclass(frozen=True, kw_only=True)
class _End:
    """All is done."""


_Message = _Networks | _Clip | _Step | _Tensors | _End


def started_by_torchrun() -> bool:
    """True in a process that is one of several that `torchrun` has started."""
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
        """True while the others wait for the next word of rank 0."""

    def describe(self) -> str:
        """See `WindowExecutor`."""
        return f"{self.workers} processes of torchrun, {torch.get_num_threads()} thread(s) each"

    @contextmanager
    def open(
        self, parts: Components, work: ClipWork, on_window: Callable[[int], None]
    ) -> Iterator[Predict]:
        """See `WindowExecutor`."""
        if parts is not self._parts:
            self._tell(_Networks(threads=torch.get_num_threads()))
            self._send_packed(pack(networks_of(parts)))
            self._parts = parts
        self._tell(_Clip())
        self._send_packed(pack(portable(work)))
        with window_worker(parts, work, self.device) as compute:

            def predict(sample_WSCHW: Tensor, control: Tensor | None, call: Call) -> Tensor:
                rows = step_samples(sample_WSCHW, call, work)
                return self._step(rows, call.step, compute, on_window)

            yield predict

    def close(self) -> None:
        """Rank 0 lets the others go; safe to call twice."""
        if self._listening:
            self._listening = False
            self._tell(_End())

    def serve(self) -> None:
        """Compute windows for rank 0 until it says that all is done."""
        parts: Components | None = None
        compute: WindowPredict | None = None
        with ExitStack() as stack:
            while True:
                message = self._hear()
                if isinstance(message, _End):
                    return
                if isinstance(message, _Networks):
                    stack.close()
                    torch.set_num_threads(message.threads)
                    parts = unpack(self._receive_packed())
                elif isinstance(message, _Clip):
                    stack.close()
                    work = unpack(self._receive_packed())
                    assert parts is not None
                    compute = stack.enter_context(window_worker(parts, work, self.device))
                else:
                    assert compute is not None
                    assert isinstance(message, _Step)
                    self._share(compute, message.step, message.shape)

    def _step(
        self,
        rows: np.ndarray,
        step: int,
        compute: WindowPredict,
        on_window: Callable[[int], None],
    ) -> Tensor:
        """All windows of a step: every rank those that it is due, put back in window order."""
        self._tell(_Step(step=step, shape=rows.shape))
        self._listening = False  # if this ends here, nobody would understand another word
        sample = torch.from_numpy(rows)
        for rank in range(1, self.workers):
            share = sample[rank :: self.workers].contiguous()
            if len(share):
                dist.send(share, rank, group=self._wire)
        mine = range(0, len(rows), self.workers)
        computed, failure = _attempt(compute, step, mine, rows, on_window)
        failures: list[Any] = [None] * self.workers
        dist.gather_object(failure, failures, 0, group=self._wire)
        predictions = torch.empty_like(sample)
        if computed is not None:
            predictions[:: self.workers] = computed
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
        indices = range(self.rank, shape[0], self.workers)
        sample = torch.empty(len(indices), *shape[1:])
        if len(indices):
            dist.recv(sample, 0, group=self._wire)
        rows = np.empty(shape, np.float32)
        rows[self.rank :: self.workers] = sample.numpy()
        computed, failure = _attempt(compute, step, indices, rows, lambda windows: None)
        dist.gather_object(failure, None, 0, group=self._wire)
        if computed is not None and len(indices):
            dist.send(computed, 0, group=self._wire)

    def _tell(self, message: _Message) -> None:
        dist.broadcast_object_list([message], 0, group=self._wire)

    def _hear(self) -> _Message:
        messages: list[Any] = [None]
        dist.broadcast_object_list(messages, 0, group=self._wire)
        message: _Message = messages[0]
        return message

    def _send_packed(self, packed: Packed) -> None:
        sizes = tuple(array.size for array in packed.arrays)
        self._tell(_Tensors(pickled=packed.pickled, kinds=packed.kinds, sizes=sizes))
        for array in packed.arrays:
            if array.size:
                dist.broadcast(torch.from_numpy(array), 0, group=self._wire)

    def _receive_packed(self) -> Packed:
        message = self._hear()
        assert isinstance(message, _Tensors)
        arrays = []
        for size in message.sizes:
            tensor = torch.empty(size, dtype=torch.uint8)
            if size:
                dist.broadcast(tensor, 0, group=self._wire)
            arrays.append(tensor.numpy())
        return Packed(pickled=message.pickled, arrays=tuple(arrays), kinds=message.kinds)


def _attempt(
    compute: WindowPredict,
    step: int,
    indices: range,
    rows: np.ndarray,
    on_window: Callable[[int], None],
) -> tuple[Tensor | None, Exception | None]:
    """The predictions of some windows, or the error, as something that can travel."""
    predictions = []
    try:
        for index in indices:
            predictions.append(compute(step, index, rows[index]))
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
