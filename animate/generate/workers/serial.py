"""The stand-in: windows one after the other in this process, through the workers' own code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from animate.generate.denoise import Call, Predict
from animate.generate.workers.packing import portable
from animate.generate.workers.protocol import ClipWork
from animate.generate.workers.worker import window_worker
from animate.models.components import Components


class SerialWindows:
    """A `WindowExecutor` of one worker: this process, on the device given."""

    workers = 1

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)

    @contextmanager
    def open(
        self, parts: Components, work: ClipWork, on_window: Callable[[int], None]
    ) -> Iterator[Predict]:
        """See `WindowExecutor`."""
        with window_worker(parts, portable(work), self._device) as compute:

            def predict(sample_WSCHW: Tensor, control: Tensor | None, call: Call) -> Tensor:
                predictions = []
                for place, sample in enumerate(samples(sample_WSCHW, call, work)):
                    predictions.append(compute(call.step, place, sample))
                    on_window(1)
                return torch.from_numpy(np.stack(predictions))

            yield predict

    def describe(self) -> str:
        """See `WindowExecutor`."""
        return "1 worker in this process"

    def close(self) -> None:
        """Nothing is held."""


def samples(sample_WSCHW: Tensor, call: Call, work: ClipWork) -> np.ndarray:
    """The scaled latents (W,S,C,H,W) of all windows of a step, on the host."""
    assert len(call.windows) == len(work.plan.at(call.step)), "all windows of a step, in one call"
    return sample_WSCHW.float().cpu().contiguous().numpy()
