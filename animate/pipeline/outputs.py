"""Frames and seeds in the forms that programs use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image as Pillow

from animate.errors import RequestError
from animate.media.info import Image, PictureType

OutputType = Literal[PictureType, "latent"]
"""Kinds of frames: lists of Pillow's pictures, an array (videos,F,H,W,3) or a tensor
(videos,F,3,H,W) of floats in [0,1], or latents (videos,F,C,h,w)."""
_MOST_SEED = 2**64 - 1


def check_output_type(output_type: str, *, latents: bool = True) -> None:
    """Raise RequestError for a kind of frames that there is not."""
    kinds = [kind for kind in get_args(OutputType) if latents or kind != "latent"]
    if output_type not in kinds:
        raise RequestError(f"output_type {output_type!r} is not {', '.join(kinds)}")


def picture_as(picture: Image, output_type: OutputType) -> Any:
    """One frame (H,W,3) uint8 as a picture, an array (H,W,3) or a tensor (3,H,W)."""
    if output_type == "pil":
        return Pillow.fromarray(picture)
    values = picture.astype(np.float32) / 255
    return values if output_type == "np" else torch.from_numpy(values).permute(2, 0, 1)


def packed(videos: Sequence[Any], output_type: OutputType) -> Any:
    """Videos, each a list of frames (H,W,3) uint8 or latents (F,C,h,w), in the form asked for."""
    if output_type == "latent":
        return torch.stack(list(videos))
    if output_type == "pil":
        return [[Pillow.fromarray(frame) for frame in frames] for frames in videos]
    values = np.stack([np.stack(frames) for frames in videos]).astype(np.float32) / 255
    return values if output_type == "np" else torch.from_numpy(values).permute(0, 1, 4, 2, 3)


def seeds(
    seed: int | None, generator: torch.Generator | Sequence[torch.Generator] | None, count: int
) -> list[int]:
    """Seeds of the videos of one picture, the first from `seed` or `generator`, or of each its own.

    Raises RequestError for both, and for other numbers of generators than videos.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise RequestError(f"num_videos_per_prompt {count!r} is not a number of videos")
    if seed is not None and generator is not None:
        raise RequestError("seed and generator are both given; give one of them")
    if generator is None:
        return [_next(0 if seed is None else seed, number) for number in range(count)]
    if isinstance(generator, torch.Generator):
        first = seed_of(generator)
        return [_next(first, number) for number in range(count)]
    if len(generator) != count:
        raise RequestError(f"{count} videos need as many generators, not {len(generator)}")
    return [seed_of(single) for single in generator]


def seed_of(generator: torch.Generator) -> int:
    """The own seed of a fresh generator, the next number of one that was used; it is used then."""
    seed = generator.initial_seed() & _MOST_SEED
    fresh = torch.Generator(generator.device).manual_seed(generator.initial_seed())
    is_fresh = torch.equal(fresh.get_state(), generator.get_state())
    number = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    return seed if is_fresh else number


def _next(seed: int, number: int) -> int:
    return seed + number if number == 0 else (seed + number) & _MOST_SEED
