"""Frames of latents: the last stage, a group of frames at a time.

Shapes: F frames, H x W pixels, latents (F,C,h,w).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from animate.errors import NotFiniteError
from animate.generate.clip_state import Keeper, KeepsNothing
from animate.generate.engine import Engine, attempts
from animate.generate.families import family_of
from animate.generate.settings import ClipSettings
from animate.progress import Progress
from temporal.offload import offloaded
from temporal.speed import channels_last, freed_memory_kept
from temporal.vae import DecodeOptions


@torch.no_grad()
def decode(
    engine: Engine,
    settings: ClipSettings,
    latents: Tensor,
    progress: Progress,
    keeper: Keeper | None = None,
    *,
    leading: int = 0,
    first: int = 0,
) -> Generator[np.ndarray, None, None]:
    """Frames (H,W,3) uint8 RGB, a group at a time; smaller groups if memory runs out.

    leading: frames that come before the clip's first, which are decoded and left out
    first: frame to begin with, of all that have latents; those before it were given already
    Raises NotFiniteError for frames that are not finite; those before them were given.
    """
    keeper = keeper or KeepsNothing()
    done, count = first, len(latents)
    latents = _filled(latents, settings.decode_chunk)
    with progress.stage("decode", count) as stage, freed_memory_kept():
        for pictures in keeper.frames():
            yield from _counted(pictures, stage.skip, leading - done)
            done += len(pictures)
        for attempt in attempts(engine, "decode", progress):
            with attempt:
                for group in _decoded(engine, settings, latents, done):
                    pictures = _pictures(group, done)[: count - done]
                    if not len(pictures):
                        break
                    keeper.offer_frames(pictures)
                    skipped = leading - done
                    done += len(pictures)
                    yield from _counted(pictures, stage.advance, skipped)


def _decoded(
    engine: Engine, settings: ClipSettings, latents: Tensor, first: int
) -> Iterator[Tensor]:
    """Groups of frames from `first` on, by the engine's plan, in the autoencoder's own type."""
    vae = engine.components.vae
    options = engine.plan.decode if engine.plan else DecodeOptions(group=settings.decode_chunk)
    with (
        offloaded(vae, engine.device, engine.offload),
        channels_last(vae) if engine.device.type == "cpu" else nullcontext(),
    ):
        family = family_of(engine.components.variant)
        yield from family.decode(vae, latents, options, first=first)


def _filled(latents_FChw: Tensor, frames: int) -> Tensor:
    """A clip of fewer frames than are decoded together stands still at its end until it has them:
    alone, a frame is tinted by a decoder that learned from several."""
    missing = frames - len(latents_FChw)
    if missing <= 0:
        return latents_FChw
    return torch.cat([latents_FChw, latents_FChw[-1:].expand(missing, -1, -1, -1)])


def _counted(pictures: np.ndarray, count: Callable[[], None], skipped: int) -> Iterator[np.ndarray]:
    """The pictures but the first `skipped`, and a call of `count` after each of all."""
    for number, picture in enumerate(pictures):
        if number >= skipped:
            yield picture
        count()


def _pictures(group_F3HW: Tensor, first: int) -> np.ndarray:
    """(F,H,W,3) uint8 of frames in [-1,1]; `first` is the number of the first one.

    Raises NotFiniteError for frames that are not finite.
    """
    finite = torch.isfinite(group_F3HW).all()
    levels = ((group_F3HW.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    pictures = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    if not bool(finite):  # read after the pictures: the device was waited for already
        raise NotFiniteError("decode", f"frames {first} to {first + len(pictures) - 1}", "VAE")
    return pictures
