"""One worker: a window of a step, with the bits of the undivided loop.

`SerialWindows` is the stand-in of a single worker in this process, through the workers' own code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from animate.generate.denoise import Call, Predict
from animate.generate.families import family_of
from animate.generate.network import ClipWork, ControlEncoder
from animate.generate.workers.packing import portable
from animate.models.components import Components
from temporal.windows import Window

WindowPredict = Callable[[int, int, np.ndarray], np.ndarray]
"""(step, index of the window in the step, scaled latents (S,C,H,W) float32) -> prediction."""


@contextmanager
def window_worker(
    parts: Components, work: ClipWork, device: torch.device
) -> Iterator[WindowPredict]:
    """A function that computes any window of the clip; it remembers nothing between calls."""
    work = _on(work, device)
    encoder = ControlEncoder(controlnext=parts.controlnext, draw=work.control, device=device)
    with family_of(parts.variant).networks(parts, work, device) as networks:
        yield _Worker(work=work, predict=networks.predict, encoder=encoder, device=device)


@dataclass(frozen=True, kw_only=True)
class _Worker:
    work: ClipWork
    predict: Predict
    encoder: ControlEncoder
    device: torch.device

    @torch.no_grad()
    def __call__(self, step: int, index: int, sample: np.ndarray) -> np.ndarray:
        steps = self.work.steps
        call = steps.call(step, (steps.plan.at(step)[index],))
        latents = torch.tensor(sample)[None].to(self.device)
        prediction = self.predict(latents, self._control(step, index)[None], call)
        return prediction[0].float().cpu().contiguous().numpy()

    def _control(self, step: int, index: int) -> Tensor:
        """Control features (S,c,h,w) of a window, in the groups that the undivided loop forms.

        A window's own frames and the groups that its shared frames were first used in.
        """
        windows = self.work.steps.plan.at(step)
        needed = set(windows[index].control)
        timestep = self.work.steps.timesteps[step]
        features: dict[int, Tensor] = {}
        for groups in first_uses(windows[: index + 1], self.encoder.chunk):
            for group in groups:
                if needed.intersection(group):
                    features.update(zip(group, self.encoder(group, timestep), strict=True))
        return torch.stack([features[frame] for frame in windows[index].control])


def _on(work: ClipWork, device: torch.device) -> ClipWork:
    """The same work with its tensors on the device."""
    steps = replace(
        work.steps,
        timesteps=work.steps.timesteps.to(device),
        scales=tuple(None if scale is None else scale.to(device) for scale in work.steps.scales),
    )
    conditioning = work.conditioning.to(device, work.conditioning.latents.dtype)
    return replace(work, steps=steps, conditioning=conditioning)


def first_uses(windows: Sequence[Window], chunk: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """For each window, the groups of frames whose control features `denoise` asks for there.

    Every frame is in one group only, that of the first window that uses it. The bits of a frame's
    features may depend on what is computed beside it, so a worker that starts in the middle of the
    step forms the same groups.
    """
    seen: set[int] = set()
    groups = []
    for window in windows:
        new = sorted(set(window.control) - seen)
        seen.update(new)
        groups.append(
            tuple(tuple(new[start : start + chunk]) for start in range(0, len(new), chunk))
        )
    return tuple(groups)


def step_samples(sample_WSCHW: Tensor, call: Call, work: ClipWork) -> np.ndarray:
    """The scaled latents (W,S,C,H,W) of all windows of a step, on the host."""
    count = len(work.steps.plan.at(call.step))
    assert len(call.windows) == count, "all windows of a step, in one call"
    return sample_WSCHW.float().cpu().contiguous().numpy()


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
                for index, sample in enumerate(step_samples(sample_WSCHW, call, work)):
                    predictions.append(compute(call.step, index, sample))
                    on_window(1)
                return torch.from_numpy(np.stack(predictions))

            yield predict

    def describe(self) -> str:
        """See `WindowExecutor`."""
        return "1 worker in this process"

    def close(self) -> None:
        """Nothing is held."""
