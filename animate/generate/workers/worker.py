"""The part that computes: one window of one step, with the bits of the undivided loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from animate.generate.denoise import Call, Predict
from animate.generate.network import ControlEncoder
from animate.generate.pipeline import Engine, prepared
from animate.generate.workers.protocol import ClipWork, first_uses
from animate.models.components import Components

WindowPredict = Callable[[int, int, np.ndarray], np.ndarray]
"""(step, place of the window in the step, scaled latents (S,C,H,W) float32) -> prediction."""


@contextmanager
def window_worker(
    parts: Components, work: ClipWork, device: torch.device
) -> Iterator[WindowPredict]:
    """A function that computes any window of the clip; it remembers nothing between calls."""
    engine = Engine(components=parts, device=device, plan=work.memory, compiler=work.compiler)
    work = _on(work, device)
    encoder = ControlEncoder(controlnext=parts.controlnext, draw=work.control, device=device)
    with prepared(engine, work.settings, work.plan, work.conditioning) as predict:
        yield _Worker(work=work, predict=predict, encoder=encoder, device=device)


@dataclass(frozen=True, kw_only=True)
class _Worker:
    work: ClipWork
    predict: Predict
    encoder: ControlEncoder
    device: torch.device

    @torch.no_grad()
    def __call__(self, step: int, place: int, sample: np.ndarray) -> np.ndarray:
        work = self.work
        window = work.plan.at(step)[place]
        call = Call(
            step=step, timestep=work.timesteps[step], scale=work.scales[step], windows=(window,)
        )
        latents = torch.tensor(sample)[None].to(self.device)
        prediction = self.predict(latents, self._control(step, place)[None], call)
        return prediction[0].float().cpu().contiguous().numpy()

    def _control(self, step: int, place: int) -> Tensor:
        """Control features (S,c,h,w) of a window, in the groups that the undivided loop forms.

        A window's own frames and the groups that its shared frames were first used in.
        """
        windows = self.work.plan.at(step)
        wanted = set(windows[place].control)
        timestep = self.work.timesteps[step]
        features: dict[int, Tensor] = {}
        for groups in first_uses(windows[: place + 1], self.encoder.chunk):
            for group in groups:
                if wanted.intersection(group):
                    features.update(zip(group, self.encoder(group, timestep), strict=True))
        return torch.stack([features[frame] for frame in windows[place].control])


def _on(work: ClipWork, device: torch.device) -> ClipWork:
    """The same work with its tensors on the device."""
    return replace(
        work,
        conditioning=work.conditioning.to(device, work.conditioning.latents.dtype),
        timesteps=work.timesteps.to(device),
        scales=tuple(None if scale is None else scale.to(device) for scale in work.scales),
    )
