"""The published sampling of ControlNeXt-SVD by name, for parity with its numbers.

Published: every window takes its own Euler step from the same latents, and the stepped latents are
averaged with equal weights. An Euler step is linear in the prediction, so averaging the
predictions and stepping once gives the same latents; that is what `denoise` does, and a test holds
the two against each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from animate.generate.conditioning import encode_reference, upcast
from animate.generate.denoise import Networks, Steps, denoise
from animate.generate.network import ControlEncoder, GuidedUNet
from animate.generate.schedules import make_scheduler
from animate.models.config import Injection
from animate.models.injection import inject
from animate.request.values import Guidance
from temporal.published import published_plan

Mode = Literal["controlnext-v1", "controlnext-v2"]


@dataclass(frozen=True, kw_only=True)
class PublishedRun:
    """Settings of a published run.

    mode: which release
    steps: Euler steps
    window: frames of a window (frames_per_batch)
    overlap: frames that windows share
    guidance: at a window's first and last frame
    decode_chunk: frames that the VAE decodes together
    place, weight, unconditional_weight: of the injection
    feature_mean, feature_std: of the image encoder's input
    micro_conditions: frame rate, motion bucket, noise augmentation
    """

    mode: Mode
    steps: int
    window: int
    overlap: int
    guidance: Guidance
    decode_chunk: int
    injection: Injection
    weight: float | Tensor
    unconditional_weight: float | Tensor
    feature_mean: Sequence[float]
    feature_std: Sequence[float]
    micro_conditions: Sequence[float]


@torch.no_grad()
def run_published(
    run: PublishedRun,
    *,
    unet: Any,
    vae: Any,
    image_encoder: Any,
    controlnext: Any,
    scheduler_config: Mapping[str, Any],
    reference: np.ndarray,
    poses: np.ndarray,
    image_noise: Tensor,
    initial_noise: Tensor,
) -> tuple[Tensor, Tensor]:
    """Latents (1,F,C,h,w) and frames (1,3,F,H,W) in [-1,1] of a published run, on the CPU.

    reference: (H,W,3) uint8; poses: (F,H,W,3) uint8, the first one the reference's own
    image_noise: (1,3,H,W); initial_noise: (1,F,C,h,w), before the scheduler's scaling
    """
    scheduler = make_scheduler(scheduler_config, run.steps)
    plan = published_plan(
        run.mode, len(poses), window=run.window, overlap=run.overlap, steps=run.steps
    )
    conditioning = encode_reference(
        reference,
        image_encoder=image_encoder,
        vae=vae,
        feature_mean=run.feature_mean,
        feature_std=run.feature_std,
        micro_conditions=run.micro_conditions,
        noise=image_noise,
    )
    drawn = torch.from_numpy(poses).permute(0, 3, 1, 2)
    with inject(unet, run.injection, run.weight) as port:
        networks = Networks(
            predict=GuidedUNet(
                unet, port, conditioning, unconditional_weight=run.unconditional_weight
            ),
            control=ControlEncoder(controlnext=controlnext, draw=lambda f: drawn[list(f)]),
        )
        steps = Steps.of(scheduler, plan, run.guidance)
        latents = denoise(initial_noise[0], scheduler, steps, networks)
    return latents[None], decode_published(latents, vae, run.decode_chunk)


def decode_published(latents_FCHW: Tensor, vae: Any, chunk: int) -> Tensor:
    """Frames (1,3,F,H,W) decoded `chunk` at a time, each chunk on its own, without clamping."""
    with upcast(vae):
        scaled = (latents_FCHW / vae.config.scaling_factor).to(vae.dtype)
        parts = [
            vae.decode(part, num_frames=len(part)).sample.float() for part in scaled.split(chunk)
        ]
    return torch.cat(parts).transpose(0, 1)[None]
