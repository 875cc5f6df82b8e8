"""A spatio-temporal transformer in pieces: frames for its spatial blocks, pixels for its temporal.

Legend: B batch, F frames, C channels, H height, W width, P pixels (H times W), T context tokens,
D width of the context.
"""

from __future__ import annotations

import torch
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from torch import Tensor

from temporal.chunked.chunks import spans


def run_transformer(
    model: TransformerSpatioTemporalModel,
    hidden: Tensor,
    context: Tensor,
    indicator: Tensor,
    *,
    frames: int | None,
    pixels: int | None,
) -> Tensor:
    """The model's stock result from (B*F,C,H,W), in groups of frames and of pixels in turn.

    Args:
        model: the stock model; hooks of its parts run as often as there are groups.
        hidden: (B*F,C,H,W)
        context: (B*F,T,D)
        indicator: (B,F); says how many frames belong together.
        frames: frames at a time in spatial blocks.
        pixels: pixels at a time in temporal blocks.

    Returns:
        (B*F,C,H,W) in the layout of `hidden`.
    """
    count = indicator.shape[-1]
    tokens = _project_in(model, hidden, frames)
    position = _frame_positions(model, len(hidden) // count, count, tokens)
    context_BTD = context.unflatten(0, (-1, count))[:, 0]
    layers = list(zip(model.transformer_blocks, model.temporal_transformer_blocks, strict=True))
    for spatial_block, temporal_block in layers:
        for start, stop in spans(len(tokens), frames):
            tokens[start:stop] = spatial_block(
                tokens[start:stop], encoder_hidden_states=context[start:stop]
            )
        for start, stop in spans(tokens.shape[1], pixels):
            piece = tokens[:, start:stop]
            mixed = temporal_block(
                piece + position,
                num_frames=count,
                encoder_hidden_states=context_BTD.repeat_interleave(stop - start, dim=0),
            )
            tokens[:, start:stop] = model.time_mixer(
                x_spatial=piece, x_temporal=mixed, image_only_indicator=indicator
            )
    return _project_out(model, tokens, hidden, frames)


def _project_in(
    model: TransformerSpatioTemporalModel, hidden: Tensor, frames: int | None
) -> Tensor:
    """(B*F,P,C) tokens of the normalised pixels."""
    tokens = hidden.new_empty(len(hidden), hidden[0, 0].numel(), model.proj_in.out_features)
    for start, stop in spans(len(hidden), frames):
        normal = model.norm(hidden[start:stop])
        tokens[start:stop] = model.proj_in(normal.flatten(2).transpose(1, 2))
    return tokens


def _frame_positions(
    model: TransformerSpatioTemporalModel, batch: int, count: int, like: Tensor
) -> Tensor:
    """(B*F,1,C) embedding of each frame's number in its window."""
    numbers = torch.arange(count, device=like.device).repeat(batch)
    embedding: Tensor = model.time_pos_embed(model.time_proj(numbers).to(like.dtype))
    return embedding[:, None]


def _project_out(
    model: TransformerSpatioTemporalModel, tokens: Tensor, residual: Tensor, frames: int | None
) -> Tensor:
    """Tokens back to pixels, with the residual added, in the residual's layout."""
    result = torch.empty_like(residual)
    for start, stop in spans(len(tokens), frames):
        piece = model.proj_out(tokens[start:stop]).transpose(1, 2)
        result[start:stop] = piece.unflatten(2, residual.shape[2:]) + residual[start:stop]
    return result
