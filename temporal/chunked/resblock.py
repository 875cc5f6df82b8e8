"""A spatio-temporal residual block in pieces: frames for its first half, pixels for its second.

Legend: B batch, F frames, C channels, H height, W width, P pixels (H times W), E embedding.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers.models.resnet import SpatioTemporalResBlock, TemporalResnetBlock
from torch import Tensor

from temporal.chunked.chunks import empty_in_layout_of, spans
from temporal.chunked.convolution import run_over_time
from temporal.chunked.norms import GroupStatistics, normalise


def by_frames(
    run: Callable[[int, int], Tensor],
    count: int,
    frames: int | None,
    into: Tensor | None = None,
) -> Tensor:
    """Join the results of `run(start, stop)` over groups of frames.

    Args:
        run: gives (stop - start, C, H, W).
        count: frames in all.
        frames: frames in a group; None for all.
        into: (count, C, H, W) tensor to write to, which `run` may be reading the same frames of.
    """
    for start, stop in spans(count, frames):
        piece = run(start, stop)
        if into is None:
            if stop - start == count:
                return piece
            into = empty_in_layout_of(piece, (count, *piece.shape[1:]))
        into[start:stop] = piece
        del piece  # not held while the next group is at its widest
    assert into is not None, "there are no frames"
    return into


def by_pixel(frames: Tensor, count: int) -> Tensor:
    """(B*F,C,H,W) seen as (B,C,F,P), whether its channels stand first or last in memory."""
    return frames.unflatten(0, (-1, count)).flatten(3).transpose(1, 2)


def run_res_block(
    block: SpatioTemporalResBlock,
    hidden: Tensor,
    temb: Tensor | None,
    indicator: Tensor,
    *,
    frames: int | None,
    pixels: int | None,
) -> Tensor:
    """The block's stock result from (B*F,C,H,W), in groups of frames, then of pixels.

    Args:
        block: the stock block; hooks of its parts run as often as there are groups.
        hidden: (B*F,C,H,W)
        temb: (B*F,E) or None
        indicator: (B,F); says how many frames belong together.
        frames: frames at a time in the spatial half.
        pixels: pixels at a time in the temporal half.
    """

    def spatial(start: int, stop: int) -> Tensor:
        embedding = None if temb is None else temb[start:stop]
        result: Tensor = block.spatial_res_block(hidden[start:stop], embedding)
        return result

    result = by_frames(spatial, len(hidden), frames)
    return mix_over_time(block, result, temb, indicator, pixels=pixels)


def mix_over_time(
    block: SpatioTemporalResBlock,
    hidden: Tensor,
    temb: Tensor | None,
    indicator: Tensor,
    *,
    pixels: int | None,
) -> Tensor:
    """The block's temporal half and its mixing; **writes into `hidden`**, (B*F,C,H,W).

    Needs one more tensor of that size: what stands between its two convolutions, since the second
    one's norm must have seen all of it.
    """
    temporal = block.temporal_res_block
    count = indicator.shape[-1]
    clip_BCFP = by_pixel(hidden, count)
    middle_BCFP = by_pixel(torch.empty_like(hidden), count)
    pieces = list(spans(clip_BCFP.shape[-1], pixels))

    first = GroupStatistics(temporal.norm1)
    for start, stop in pieces:
        first.add(clip_BCFP[..., start:stop])
    statistics = first.by_channel()
    embedding = _embedding(temporal, temb, count)
    second = GroupStatistics(temporal.norm2)
    for start, stop in pieces:
        piece = normalise(clip_BCFP[..., start:stop], temporal.norm1, *statistics)
        piece = run_over_time(temporal.conv1, temporal.nonlinearity(piece))
        if embedding is not None:
            piece = piece + embedding
        second.add(piece)
        middle_BCFP[..., start:stop] = piece

    statistics = second.by_channel()
    for start, stop in pieces:
        piece = normalise(middle_BCFP[..., start:stop], temporal.norm2, *statistics)
        piece = temporal.dropout(temporal.nonlinearity(piece))
        piece = run_over_time(temporal.conv2, piece)
        before = clip_BCFP[..., start:stop]
        shortcut = temporal.conv_shortcut
        piece = piece + (before if shortcut is None else run_over_time(shortcut, before))
        clip_BCFP[..., start:stop] = block.time_mixer(
            x_spatial=before.unsqueeze(-1),
            x_temporal=piece.unsqueeze(-1),
            image_only_indicator=indicator,
        ).squeeze(-1)
    return hidden


def _embedding(temporal: TemporalResnetBlock, temb: Tensor | None, count: int) -> Tensor | None:
    """(B,C,F,1) of the time embedding, for adding."""
    if temb is None or temporal.time_emb_proj is None:
        return None
    embedding_BFC = temporal.time_emb_proj(temporal.nonlinearity(temb)).unflatten(0, (-1, count))
    return embedding_BFC.transpose(1, 2).unsqueeze(-1)
