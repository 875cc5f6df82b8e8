"""Measure a model on characters that no recipe trains on, through the product's own pipeline.

Everything is known of a procedural clip, so the truth is a picture: the same character, place and
pose. Stated beside it: repeating the reference, and the truth through the autoencoder alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from animate.driving.limb_warp import LimbWarp
from animate.evaluation import asked as measuring
from animate.evaluation import measures as metrics
from animate.evaluation.motion import DenseFlow
from animate.generate.pipeline import Engine
from animate.request.values import Size
from animate.training.validation import Picture, animate_poses
from scripts.tiny.characters import Take, render_clip
from scripts.tiny.characters.clip import Character
from scripts.tiny.characters.motion import Motion
from temporal.vae import DecodeOptions, decode_frames

HELD_OUT = 1_000_000
"""First seed that no recipe trains on."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Means over clips and frames."""

    psnr: float
    """dB, whole pictures."""
    ssim: float
    iou: float
    """Overlap of the figure's mask with the true one."""
    figure_psnr: float
    """dB, where the true figure is."""
    background_psnr: float
    """dB, elsewhere."""

    def as_row(self) -> dict[str, float]:
        return {name: round(float(value), 4) for name, value in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """All that is measured of clips whose truth is known, means over clips."""

    scores: Scores
    retrieval: float
    """Per cent of frames whose nearest true picture is the one in their pose."""
    sharpness: float
    """Mean gradient magnitude over the truth's."""
    flicker: float
    """Warping error over the truth's; 0 for clips of one frame."""

    def as_row(self) -> dict[str, float]:
        return {
            **self.scores.as_row(),
            "pose_retrieval_percent": round(self.retrieval, 2),
            "sharpness": round(self.sharpness, 4),
            "flicker": round(self.flicker, 4),
        }


def figures(clips: Sequence[Picture], takes: Sequence[Take]) -> Figures:
    """Figures of the clips of `held_out` takes, all of them in their order."""
    pairs = list(zip(clips, takes, strict=True))
    right, flickers = [], []
    flow = DenseFlow()
    for number, (clip, take) in enumerate(pairs):
        height, width = take.reference.shape[:2]
        bank = other_poses(HELD_OUT + number, Size(width, height))
        right.append(retrieved(clip, take.frames, bank).mean())
        flickers.append((_flicker(flow, clip), _flicker(flow, take.frames)))
    generated, true = np.mean(flickers, 0)
    return Figures(
        scores=mean_scores([score(clip, take) for clip, take in pairs]),
        retrieval=100 * float(np.mean(right)),
        sharpness=float(np.mean([sharpness_ratio(clip, take.frames) for clip, take in pairs])),
        flicker=float(generated / true) if true else 0.0,
    )


def _flicker(flow: DenseFlow, frames: Picture) -> float:
    """Mean warping error of a clip; 0 where nothing can be followed."""
    errors = [flow.warping_error(*pair) for pair in itertools.pairwise(frames)]
    return float(np.mean([error for error in errors if error is not None] or [0.0]))


def held_out(count: int, frames: int, sizes: Sequence[Size]) -> list[Take]:
    """Clips of unseen characters, their sizes in turn."""
    return [render_clip(HELD_OUT + i, frames, sizes[i % len(sizes)]) for i in range(count)]


def score(frames: Picture, take: Take) -> Scores:
    """Scores of one clip (F,h,w,3)."""
    rows = []
    for frame, truth, mask in zip(frames, take.frames, take.masks, strict=True):
        inside = mask > 25
        iou = metrics.mask_iou(
            metrics.figure_mask(frame, take.background),
            metrics.figure_mask(truth, take.background),
        )
        rows.append(
            (
                metrics.psnr(frame, truth),
                metrics.ssim(frame, truth),
                iou,
                metrics.psnr(frame, truth, inside),
                metrics.psnr(frame, truth, ~inside),
            )
        )
    return Scores(**dict(zip(Scores.__dataclass_fields__, np.nanmean(rows, 0), strict=True)))


def mean_scores(scores: list[Scores]) -> Scores:
    """Mean over clips."""
    rows = np.array([list(asdict(clip_scores).values()) for clip_scores in scores])
    return Scores(**dict(zip(Scores.__dataclass_fields__, rows.mean(0), strict=True)))


def other_poses(seed: int, size: Size, count: int = 24) -> Picture:
    """(count,h,w,3): the character of a held-out clip in its place, in poses of other motions."""
    character = Character(seed, size)
    pictures = []
    for number in range(count):
        rng = np.random.default_rng([seed, 3, number])
        pictures.append(character.paint(Motion(rng).at(float(rng.uniform(0, 100))))[0])
    return np.stack(pictures)


def retrieved(frames: Picture, truth: Picture, other_pictures: Picture) -> NDArray[np.bool_]:
    """(F,) whether the true picture nearest to a generated frame is the one in its pose.

    The choice is among the clip's true frames (F,h,w,3), which are all alike but for the pose, and
    the same character's other poses (N,h,w,3); distances are squared differences of pixels.
    """
    bank = np.concatenate([truth, other_pictures]).reshape(len(truth) + len(other_pictures), -1)
    generated = frames.reshape(len(frames), -1).astype(np.float32)
    rows = bank.astype(np.float32)
    # The generated frame's own norm is the same for all choices.
    distances = (rows**2).sum(1) - 2 * generated @ rows.T
    return np.asarray(distances.argmin(1) == np.arange(len(frames)))


def animate_take(engine: Engine, take: Take, **sampling: Any) -> Picture:
    """The model's clip (F,h,w,3) for a take's reference and poses; `sampling` as in
    `SamplingOptions`, the variant's defaults where nothing is said."""
    known = (take.reference_points, take.reference_scores)
    return animate_poses(engine, take.reference, take.points, take.scores, known, **sampling)


@torch.no_grad()
def through_autoencoder(engine: Engine, frames: Picture) -> Picture:
    """A clip encoded, and decoded as the pipeline does it: what no denoiser can do better than."""
    vae, sampling = engine.components.vae, engine.components.variant.defaults
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()
    scaled = latents * vae.config.scaling_factor
    groups = decode_frames(vae, scaled, DecodeOptions(group=sampling.decode_chunk))
    decoded = torch.cat(list(groups)).float().cpu()
    levels = ((decoded + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).numpy()


def window_borders(frames: int, window: int, overlap: int) -> list[int]:
    """Frames at which a window of the static schedule begins or the one before it has ended."""
    return list(measuring.window_borders(frames, window, overlap))


def warped(take: Take) -> Picture:
    """The reference brought limb by limb to each pose, without any network."""
    limbs = LimbWarp(take.reference, take.reference_points, take.reference_scores)
    return np.stack([limbs(*pose) for pose in zip(take.points, take.scores, strict=True)])


def sharpness_ratio(frames: Picture, truth: Picture) -> float:
    """Mean gradient magnitude of a clip (F,h,w,3) over the truth's."""
    return _slopes(frames) / _slopes(truth)


def _slopes(frames: Picture) -> float:
    grey = frames.astype(np.float32).mean(-1)
    down, across = np.gradient(grey, axis=(1, 2))
    return float(np.hypot(down, across).mean())


def repeated(take: Take) -> Picture:
    """The reference, standing still."""
    return np.repeat(take.reference[None], len(take.frames), 0)
