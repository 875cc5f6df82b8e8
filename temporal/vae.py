"""Latents to frames, a group of frames at a time, within little memory.

A group is decoded together: the decoder's temporal layers see its frames and no others, exactly as
the stock `vae.decode` of these frames. How a group is cut for memory (`DecoderCuts`) does not
change the result. Tiles and smaller groups do: tiles because each has the normalisation statistics
of its own area, groups because a frame sees fewer neighbours.

Legend: F frames, C channels, h and w latent height and width, H and W picture height and width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from temporal.chunked.decoder import DecoderCuts, decode_in_pieces
from temporal.errors import TemporalError


@dataclass(frozen=True, kw_only=True)
class DecodeOptions:
    """Groups in which latents become frames.

    Attributes:
        group: frames decoded together; what the temporal layers see. Changes the result.
        overlap: frames that a group shares with the one before, faded over. Changes the result.
        tile: side of square tiles in latent pixels; None for whole frames. Changes the result,
            and is needed only where even one band of a frame at a time is too much for `group`.
        tile_overlap: latent pixels that neighbouring tiles share, faded over.
        cuts: sizes of the pieces that do not change the result.

    Raises:
        TemporalError: a size is impossible; names the nearest that works.
    """

    group: int = 8
    overlap: int = 0
    tile: int | None = None
    tile_overlap: int = 8
    cuts: DecoderCuts = field(default_factory=DecoderCuts)

    def __post_init__(self) -> None:
        if self.group < 1:
            raise TemporalError(
                f"a group of {self.group} frames decodes nothing; the nearest that works is 1"
            )
        if not 0 <= self.overlap < self.group:
            raise TemporalError(
                f"groups of {self.group} frames cannot share {self.overlap}; the nearest that "
                f"works is {min(max(self.overlap, 0), self.group - 1)}"
            )
        if self.tile is not None and self.tile < 8:
            raise TemporalError(
                f"a tile of {self.tile} latent pixels is too small to look like its neighbours; "
                "the nearest that works is 8"
            )
        if self.tile is not None and not 0 <= self.tile_overlap < self.tile:
            raise TemporalError(
                f"tiles of {self.tile} latent pixels cannot share {self.tile_overlap}; the "
                f"nearest that works is {min(max(self.tile_overlap, 0), self.tile - 1)}"
            )


def decode_frames(
    vae: Any, latents_FChw: Tensor, options: DecodeOptions | None = None, *, first: int = 0
) -> Iterator[Tensor]:
    """Decode a clip in order, a few frames at a time.

    All groups are full, unless the clip is shorter: the last one takes earlier frames with it,
    since what the temporal layers make of a frame depends on how many they see.

    Args:
        vae: a diffusers `AutoencoderKLTemporalDecoder`, on the device to decode on.
        latents_FChw: (F,C,h,w) latents as the denoiser leaves them (`scaling_factor` still in);
            any floating type, any device.
        options: groups, tiles and pieces.
        first: frame to begin with; it and all after it have the bits that they have otherwise.

    Yields:
        (n,3,H,W) frames in [-1,1], RGB, in the autoencoder's type and on its device; the frames of
        all pieces are those of the clip from `first` on, each once. NaN where the decoder gave
        numbers that are not finite.
    """
    options = options or DecodeOptions()
    weight = next(vae.decoder.parameters())
    scaling = float(vae.config.scaling_factor)
    done, count = first, len(latents_FChw)
    tail: Tensor | None = None
    starts = _group_starts(count, options)
    for start, following in zip(starts, [*starts, count][1:], strict=True):
        # Where groups overlap, a frame is done when the next group begins; and each fades into the
        # next, so that none can be left out.
        end = following if options.overlap else min(start + options.group, count)
        if end <= first and not options.overlap:
            continue
        group = latents_FChw[start : start + options.group].to(weight.device) / scaling
        with torch.no_grad():
            frames = _clamped(_decode_group(vae.decoder, group.to(weight.dtype), options))
        if tail is not None and len(tail):
            frames[: len(tail)] = _fade(tail, frames[: len(tail)], dim=0)
        tail = frames[end - start :].clone()
        ready = frames[max(done - start, 0) : end - start]
        del frames
        if len(ready):
            yield ready
        done = max(done, end)


def _clamped(frames: Tensor) -> Tensor:
    """Frames in [-1,1], in place. A group in which a number is not finite is NaN throughout: an
    infinite one would come out as white or black."""
    broken = torch.isfinite(frames).all().logical_not()
    return frames.clamp_(-1, 1).masked_fill_(broken, torch.nan)


def _group_starts(count: int, options: DecodeOptions) -> list[int]:
    """First frames of the groups; the last one is moved back to full length."""
    if count <= options.group:
        return [0] if count else []
    step = options.group - options.overlap
    return [*range(0, count - options.group, step), count - options.group]


def _decode_group(decoder: Any, latents_FChw: Tensor, options: DecodeOptions) -> Tensor:
    height, width = latents_FChw.shape[2:]
    if options.tile is None or (height <= options.tile and width <= options.tile):
        return decode_in_pieces(decoder, latents_FChw, options.cuts)
    rows = None
    for top in _tile_starts(height, options):
        row = None
        for left in _tile_starts(width, options):
            area = latents_FChw[:, :, top : top + options.tile, left : left + options.tile]
            tile = decode_in_pieces(decoder, area, options.cuts)
            scale = tile.shape[3] // area.shape[3]
            row = _append(row, tile, left * scale, dim=3)
        assert row is not None
        rows = _append(rows, row, top * scale, dim=2)
    assert rows is not None
    return rows


def _tile_starts(length: int, options: DecodeOptions) -> list[int]:
    """Tiles along one side, the last one moved back to end where the frame ends."""
    assert options.tile is not None
    if length <= options.tile:
        return [0]
    step = options.tile - options.tile_overlap
    return [*range(0, length - options.tile, step), length - options.tile]


def _append(done: Tensor | None, piece: Tensor, at: int, *, dim: int) -> Tensor:
    """Put a piece behind what is done, faded over where they overlap."""
    if done is None:
        return piece
    shared = done.shape[dim] - at
    faded = _fade(done.narrow(dim, at, shared), piece.narrow(dim, 0, shared), dim=dim)
    remainder = piece.narrow(dim, shared, piece.shape[dim] - shared)
    return torch.cat([done.narrow(dim, 0, at), faded, remainder], dim=dim)


def _fade(old: Tensor, new: Tensor, *, dim: int) -> Tensor:
    """From old to new along a dimension, neither at its full weight at the ends."""
    length = old.shape[dim]
    ramp = torch.arange(1, length + 1, device=old.device, dtype=torch.float32) / (length + 1)
    shape = [length if axis == dim else 1 for axis in range(old.ndim)]
    return torch.lerp(old.float(), new.float(), ramp.view(shape)).to(old.dtype)
