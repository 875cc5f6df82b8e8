"""Starting noise of a clip, one frame at a time.

Kinds:
    independent      every frame its own, decided by the seed and the frame's index alone
    repeated         frame f has the independent noise of frame f modulo `period`
    shuffled-block   the noise of the first `period` frames over and over, shuffled within blocks
                     of `stride` frames each time round (FreeNoise, arXiv 2310.15169, section 3.2):
                     neighbouring windows start from the same noises in another order

In all three, asking for some frames gives the same bits as asking for all and selecting: the noise
does not change with the window layout, the chunk size, the number of workers or the device (it is
drawn on the CPU).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor

from temporal.errors import TemporalError
from temporal.kinds import NoiseKind

NOISE_KINDS: tuple[NoiseKind, ...] = get_args(NoiseKind)

_MASK = (1 << 64) - 1
_SHUFFLES = 0x5EED  # keeps the shuffles' random stream apart from the frames'


def frame_noise(
    frames: Sequence[int] | int,
    shape: tuple[int, int, int],
    seed: int,
    kind: NoiseKind = "independent",
    *,
    period: int | None = None,
    stride: int | None = None,
) -> Tensor:
    """Standard normal noise (F,C,H,W), float32, on the CPU.

    frames: how many frames from 0, or the global indices (>= 0) of those wanted
    shape: (C,H,W) of one frame
    seed: in [0, 2**64)
    period: frames after which noises return; for `repeated` and `shuffled-block` (the window)
    stride: frames in a shuffled block, at most `period`; for `shuffled-block` (window - overlap)
    Raises TemporalError for values outside these, and for those that the kind does not use.
    """
    indices = range(frames) if isinstance(frames, int) else frames
    if not indices:
        raise TemporalError("no frames to draw noise for; the fewest is 1")
    if min(indices) < 0:
        raise TemporalError(f"frame {min(indices)} is before the clip; the first is 0")
    if not 0 <= seed <= _MASK:
        raise TemporalError(f"seed {seed} is outside 0 .. 2**64 - 1")
    _check_kind(kind, period, stride)
    if kind == "repeated" and period:
        indices = [frame % period for frame in indices]
    elif kind == "shuffled-block" and period and stride:
        sources = _shuffled_sources(max(indices) + 1, seed, period, stride)
        indices = [sources[frame] for frame in indices]
    # Straight into its place: a long clip's noise is never there twice.
    noise = torch.empty(len(indices), *shape)
    places: dict[int, int] = {}
    for position, frame in enumerate(indices):
        first = places.setdefault(frame, position)
        noise[position] = noise[first] if first < position else _draw(shape, seed, frame)
    return noise


def _check_kind(kind: NoiseKind, period: int | None, stride: int | None) -> None:
    if kind not in NOISE_KINDS:
        raise TemporalError(f"no noise kind {kind!r}; there are {', '.join(NOISE_KINDS)}")
    required = {"independent": (), "repeated": ("period",), "shuffled-block": ("period", "stride")}
    for name, value in (("period", period), ("stride", stride)):
        if name not in required[kind] and value is not None:
            raise TemporalError(f"{kind} noise has no {name}; leave it out")
        if name in required[kind] and (value is None or value < 1):
            raise TemporalError(f"{kind} noise needs a {name} of at least 1 frame, not {value}")
    if period and stride and stride > period:
        raise TemporalError(
            f"a block of {stride} frames is longer than the period of {period}; "
            f"the longest stride is {period}"
        )


def _draw(shape: tuple[int, int, int], seed: int, frame: int) -> Tensor:
    return torch.randn(shape, generator=_generator(seed, frame), dtype=torch.float32)


def _shuffled_sources(frames: int, seed: int, period: int, stride: int) -> list[int]:
    """For each frame the one of the first `period` whose noise it takes.

    A block takes the noises of the block one period before it, in a random order of its own.
    """
    sources = list(range(min(frames, period)))
    for start in range(period, frames, stride):
        before = sources[start - period : start - period + stride]
        order = torch.randperm(stride, generator=_generator(seed ^ _SHUFFLES, start)).tolist()
        sources += [before[position] for position in order]
    return sources[:frames]


def _generator(seed: int, number: int) -> torch.Generator:
    # Neighbouring numbers must give unrelated streams, so both are mixed first (splitmix64).
    return torch.Generator().manual_seed(_mix(_mix(seed) + number))


def _mix(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
