"""Sizes of the pieces that a network's work is cut into, and the cutting itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from temporal.errors import TemporalError


def refuse_empty(sizes: Any) -> None:
    """Check a dataclass of piece sizes, each a number or None for all at once.

    Raises:
        TemporalError: a size is below one.
    """
    for name, size in vars(sizes).items():
        if size is not None and size < 1:
            raise TemporalError(
                f"a chunk of {size} {name} holds nothing; the nearest size that works is 1 "
                f"(None for all {name} at once)"
            )


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """Sizes of the pieces that a UNet works through; None leaves that work in one piece.

    The results are the same for every choice; the memory in use and, slightly, the time are not.

    Attributes:
        frames: frames at a time in spatial blocks at the latent's resolution (batch elements
            count as frames). Coarser levels take as many frames as make the same number of pixels.
        pixels: pixels at a time in temporal blocks, each with all of its frames.
        tokens: tokens at a time in feed-forward layers.
        queries: queries at a time in attention, each with all keys and values.

    Raises:
        TemporalError: a size is below one.
    """

    frames: int | None = None
    pixels: int | None = None
    tokens: int | None = None
    queries: int | None = None

    def __post_init__(self) -> None:
        refuse_empty(self)

    def check(self, *, frames: int, pixels: int) -> None:
        """Refuse sizes beyond the tensor: they would promise a cut and make none.

        Args:
            frames: frames in the network's input, batch elements included.
            pixels: height times width of its latents.

        Raises:
            TemporalError: a size is beyond what there is; names the nearest that works.
        """
        for name, limit in self._limits(frames, pixels).items():
            size = getattr(self, name)
            if size is not None and size > limit:
                raise TemporalError(
                    f"a chunk of {size} {name} is beyond the {limit} there are "
                    f"({frames} frames of {pixels} pixels); the nearest size that works is {limit} "
                    f"(None for all {name} at once)"
                )

    def fitted(self, *, frames: int, pixels: int) -> Chunks:
        """The same sizes, each no larger than what there is."""
        limits = self._limits(frames, pixels)
        sizes = {name: getattr(self, name) for name in limits}
        return replace(
            self,
            **{name: min(size, limits[name]) for name, size in sizes.items() if size is not None},
        )

    @staticmethod
    def _limits(frames: int, pixels: int) -> dict[str, int]:
        return {"frames": frames, "pixels": pixels, "tokens": frames * pixels, "queries": pixels}


def spans(total: int, size: int | None) -> Iterator[tuple[int, int]]:
    """(start, stop) of consecutive pieces of `size`, the last one shorter; None for one piece."""
    step = total if size is None else size
    for start in range(0, total, max(step, 1)):
        yield start, min(start + step, total)


def empty_in_layout_of(example: Tensor, shape: Sequence[int]) -> Tensor:
    """Room for a (N,C,H,W) result whose pieces look like `example`: channels first or last."""
    last = example.is_contiguous(memory_format=torch.channels_last)
    last = last and not example.is_contiguous()
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.empty(
        tuple(shape), dtype=example.dtype, device=example.device, memory_format=layout
    )
