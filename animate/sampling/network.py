"""What the denoising loop calls: the UNet with guidance and control, and the control network.

Shapes: W windows, S slots of a window, C H W a latent, c h w a control feature map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from animate.models.injection import ControlPort
from animate.sampling.conditioning import Conditioning
from animate.sampling.denoise import Call
from animate.sampling.guidance import guide


@dataclass(frozen=True, kw_only=True)
class GuidedUNet:
    """A `Predict`: the UNet on both guidance halves, with control on the conditional one.

    unet: a stock `UNetSpatioTemporalConditionModel`, whatever wraps or hooks it
    port: where its control goes in, from `inject`
    conditioning: of the reference image
    unconditional_weight: weight of the control on the unconditional half (`Injection`)
    together: both halves in one call; in turn they need about half the memory
    """

    unet: Any
    port: ControlPort
    conditioning: Conditioning
    unconditional_weight: float | Tensor = 0.0
    together: bool = True

    def __call__(self, sample_WSCHW: Tensor, control: Tensor | None, call: Call) -> Tensor:
        windows = len(sample_WSCHW)
        known = self.conditioning.to(sample_WSCHW.device, self.unet.dtype)
        blank = known.unconditional()
        weight = self.port.weight
        if call.scale is None:
            return self._run(sample_WSCHW, control, call, [known], [weight])
        if self.together:
            weights = [self.unconditional_weight, weight]
            both = self._run(sample_WSCHW, control, call, [blank, known], weights)
            halves = both[:windows], both[windows:]
        else:
            less = self._run(sample_WSCHW, control, call, [blank], [self.unconditional_weight])
            halves = less, self._run(sample_WSCHW, control, call, [known], [weight])
        return guide(halves[0].float(), halves[1].float(), call.scale)

    def _run(
        self,
        sample_WSCHW: Tensor,
        control: Tensor | None,
        call: Call,
        conditions: list[Conditioning],
        weights: list[float | Tensor],
    ) -> Tensor:
        """The UNet's output for all windows under each condition: (len(conditions) * W,S,C,H,W)."""
        windows = len(sample_WSCHW)
        dtype = self.unet.dtype
        rows = [_with_image(sample_WSCHW.to(dtype), known.latents) for known in conditions]
        context = [known.embedding.expand(windows, -1, -1) for known in conditions]
        micro = [known.micro.expand(windows, -1) for known in conditions]
        if control is not None:
            flat = control.to(dtype).flatten(0, 1)
            shared = windows == 1  # the port lets the conditions of one window share its rows
            self.port.control = flat if shared else torch.cat([flat] * len(conditions))
            self.port.weights = [weight for weight in weights for _ in range(windows)]
        try:
            return self.unet(
                torch.cat(rows),
                call.timestep,
                encoder_hidden_states=torch.cat(context),
                added_time_ids=torch.cat(micro),
                return_dict=False,
            )[0]
        finally:
            self.port.control = self.port.weights = None


def _with_image(sample_WSCHW: Tensor, image_BCHW: Tensor) -> Tensor:
    windows, slots = sample_WSCHW.shape[:2]
    image = image_BCHW[:, None].expand(windows, slots, -1, -1, -1)
    return torch.cat([sample_WSCHW, image], dim=2)


@dataclass(frozen=True, kw_only=True)
class ControlEncoder:
    """A `ControlFeatures`: control frames drawn when they are needed, through the control network.

    controlnext: (1,n,3,H,W) in [0,1] and a timestep -> (n,c,h,w)
    draw: control frames (n,3,H,W) in [0,1], or uint8, for global frame indices
    device: where the control network is
    chunk: frames that go through it together; it sees each alone, so this changes memory only
    """

    controlnext: Any
    draw: Callable[[Sequence[int]], Tensor]
    device: torch.device | str = "cpu"
    chunk: int = 8

    def __call__(self, frames: Sequence[int], timestep: Tensor) -> Tensor:
        parts = [frames[start : start + self.chunk] for start in range(0, len(frames), self.chunk)]
        return torch.cat([self._features(part, timestep) for part in parts])

    def _features(self, frames: Sequence[int], timestep: Tensor) -> Tensor:
        drawn = self.draw(frames)
        if torch.device(self.device).type == "cuda" and drawn.device.type == "cpu":
            drawn = drawn.pin_memory()  # so that the copy need not be waited for
        drawn = drawn.to(self.device, non_blocking=True)
        dtype = next(self.controlnext.parameters()).dtype
        drawn = drawn.to(dtype) / 255 if drawn.dtype == torch.uint8 else drawn.to(dtype)
        return self.controlnext(drawn[None], timestep)
