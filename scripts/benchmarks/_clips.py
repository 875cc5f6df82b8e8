"""Clips of the bundled model for benchmarks: rendered people whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from animate.driving.skeletons import ControlFrames, DrawnSkeletons
from animate.evaluation import measures
from animate.evaluation.protocols import EQUAL_PSNR
from animate.generate.conditioning import Conditioning, encode_reference
from animate.generate.denoise import Networks, Steps, denoise
from animate.generate.feature_cache import cached_features
from animate.generate.kept_control import with_kept_control
from animate.generate.network import ControlEncoder, GuidedUNet
from animate.generate.schedules import make_scheduler
from animate.models.components import Components, load_components
from animate.models.injection import inject, learned_weight
from animate.models.variants import load_variant
from animate.request.request import Levels, Solver
from animate.request.values import Guidance, NoiseInterval, Size
from pose.sequence import PoseSequence
from scripts.tiny.characters import render_clip
from temporal.chunked import Chunks
from temporal.constant_attention import constant_cross_attention
from temporal.noise import frame_noise
from temporal.published import PUBLISHED, published_plan
from temporal.speed import cached_chunks, channels_last, freed_memory_kept, tuned_for_cpu
from temporal.vae import DecodeOptions, decode_frames
from temporal.windows import WindowPlan, plan_windows

# Far from the seeds that training data start from.
_FIRST_SEED = 900_000


@dataclass(frozen=True, kw_only=True)
class Case:
    """One person to animate. F frames of H x W pixels.

    Attributes:
        conditioning: of the reference picture.
        drawn: (F,3,H,W) control frames in [0,1].
        truth: (F,3,H,W) float32 in [0,1], the person really in these poses.
    """

    conditioning: Conditioning
    drawn: Tensor
    truth: Tensor


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to sample; None is the variant's own setting."""

    schedule: str | None = None
    weights: str | None = None
    overlap: int | None = None
    steps: int | None = None
    solver: Solver = "euler"
    levels: Levels = "model"
    guidance: Guidance | None = None
    interval: NoiseInterval | None = None
    every: int = 1
    control_every: int = 1


class Studio:
    """The bundled model, ready to make clips."""

    def __init__(self, name: str = "tiny") -> None:
        self.parts: Components = load_components(load_variant(name))
        self.variant = self.parts.variant
        self.size: Size = self.variant.sizes[0]

    def case(self, number: int, frames: int) -> Case:
        """A person and a motion that no training has seen; the same for the same number."""
        take = render_clip(_FIRST_SEED + number, frames, (self.size.width, self.size.height))
        return Case(
            conditioning=self.encode(take.reference),
            drawn=self.draw(take.points, take.scores)(range(frames)),
            truth=torch.from_numpy(take.frames).permute(0, 3, 1, 2).float() / 255,
        )

    def encode(self, picture: np.ndarray) -> Conditioning:
        """Conditions of the UNet for a reference picture (H,W,3) uint8."""
        return encode_reference(
            picture,
            image_encoder=self.parts.image_encoder,
            vae=self.parts.vae,
            feature_mean=self.variant.feature_mean,
            feature_std=self.variant.feature_std,
            micro_conditions=tuple(self.variant.micro_conditions),
            noise=frame_noise([2**31], (3, self.size.height, self.size.width), 0),
        )

    def draw(self, points: np.ndarray, scores: np.ndarray) -> ControlFrames:
        """Control frames of poses (F,134,2) with scores (F,134)."""
        return skeletons(points, scores, self.size, self.variant.pose_style)

    def plan(self, way: Way, frames: int, calls: int) -> WindowPlan:
        """The windows of a way."""
        defaults = self.variant.defaults
        schedule = way.schedule or defaults.schedule
        overlap = defaults.overlap if way.overlap is None else way.overlap
        if schedule in PUBLISHED:
            return published_plan(
                schedule, frames, window=defaults.window, overlap=overlap, steps=calls
            )
        return plan_windows(
            frames,
            window=defaults.window,
            overlap=overlap,
            steps=calls,
            schedule=schedule,  # type: ignore[arg-type]
            weights=way.weights or defaults.fusing,  # type: ignore[arg-type]
        )

    def sample(
        self, conditioning: Conditioning, drawn: Tensor | ControlFrames, way: Way, seed: int = 0
    ) -> Tensor:
        """Latents (F,C,h,w) of a clip."""
        defaults, frames, unet = self.variant.defaults, len(drawn), self.parts.unet
        scheduler = make_scheduler(
            self.variant.scheduler,
            way.steps or defaults.steps,
            solver=way.solver,
            levels=way.levels,
        )
        plan = self.plan(way, frames, len(scheduler.timesteps))
        guidance = way.guidance or defaults.guidance
        weight = learned_weight(self.variant.injection, self.parts.controlnext)
        with ExitStack() as stack:
            port = stack.enter_context(inject(unet, self.variant.injection, weight))
            stack.enter_context(constant_cross_attention(unet))
            tuned = tuned_for_cpu(unet, self._pieces(plan), self.parts.controlnext)
            stack.enter_context(tuned)
            networks = Networks(
                predict=GuidedUNet(unet, port, conditioning),
                control=ControlEncoder(
                    controlnext=self.parts.controlnext,
                    draw=lambda frames_wanted: _pick(drawn, frames_wanted),
                ),
            )
            if way.every > 1:
                caching = cached_features(unet, networks, plan, every=way.every)
                networks = stack.enter_context(caching)
            if way.control_every > 1:
                networks = with_kept_control(networks, plan, every=way.control_every)
            return denoise(
                frame_noise(frames, self._latent_shape(), seed),
                scheduler,
                Steps.of(scheduler, plan, guidance, way.interval),
                networks,
            )

    def decode(self, latents: Tensor) -> Tensor:
        """Frames (F,3,H,W) in [0,1]."""
        options = DecodeOptions(group=self.variant.defaults.decode_chunk)
        with freed_memory_kept(), channels_last(self.parts.vae):
            parts = list(decode_frames(self.parts.vae, latents, options))
        return ((torch.cat(parts).float() + 1) / 2).clamp(0, 1)

    def _pieces(self, plan: WindowPlan) -> Chunks:
        _, height, width = self._latent_shape()
        return cached_chunks(self.parts.unet, window=plan.window, pixels=height * width)

    def _latent_shape(self) -> tuple[int, int, int]:
        config = self.parts.vae.config
        scale = 2 ** (len(config.block_out_channels) - 1)
        return config.latent_channels, self.size.height // scale, self.size.width // scale


def skeletons(points: np.ndarray, scores: np.ndarray, size: Size, style: str) -> ControlFrames:
    """Control frames of poses (F,134,2) on a canvas of that size, with scores (F,134)."""
    poses = PoseSequence(
        points=points[:, None],
        scores=scores[:, None],
        canvas=(size.width, size.height),
        fps=Fraction(12),
        times=np.arange(len(points)) / 12,
    )
    return ControlFrames(DrawnSkeletons(poses, size, style))


def psnr(generated: Tensor, truth: Tensor) -> float:
    """Decibels of a clip, values in [0,1]: the mean over its frames, as 8-bit pictures."""
    pairs = zip(pictures(generated), pictures(truth), strict=True)
    return float(np.mean([min(EQUAL_PSNR, measures.psnr(frame, true)) for frame, true in pairs]))


def pictures(clip_FCHW: Tensor) -> NDArray[np.uint8]:
    """(F,H,W,3) uint8 pictures of a clip with values in [0,1]."""
    levels = (clip_FCHW.clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())


def _pick(drawn: Tensor | ControlFrames, frames_wanted: Sequence[int]) -> Tensor:
    return drawn[list(frames_wanted)] if isinstance(drawn, Tensor) else drawn(frames_wanted)
