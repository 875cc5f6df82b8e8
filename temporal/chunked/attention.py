"""Attention over some queries at a time, and feed-forward over some tokens at a time.

Both are exact: every query still sees all keys and values, and tokens do not see each other in a
feed-forward layer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from temporal.chunked.chunks import spans


class QueryChunks:
    """Attention processor: full keys and values, `queries` queries at a time.

    Does what the stock processor does for layers without a mask, spatial or query-key norm.
    """

    def __init__(self, queries: int) -> None:
        self.queries = queries

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        assert attention_mask is None, "video networks attend without a mask"
        residual = hidden_states
        if hidden_states.ndim == 4:
            hidden_states = hidden_states.flatten(2).transpose(1, 2)
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        key, value = (
            layer(context).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for layer in (attn.to_k, attn.to_v)
        )
        result = torch.empty_like(hidden_states)
        for start, stop in spans(hidden_states.shape[1], self.queries):
            query = attn.to_q(hidden_states[:, start:stop]).unflatten(-1, (attn.heads, -1))
            piece = scaled_dot_product_attention(query.transpose(1, 2), key, value)
            piece = piece.transpose(1, 2).flatten(2)
            result[:, start:stop] = attn.to_out[1](attn.to_out[0](piece))
        if residual.ndim == 4:
            result = result.transpose(1, 2).reshape(residual.shape)
        if attn.residual_connection:
            result = result + residual
        return result / attn.rescale_output_factor


def is_plain(attn: Attention) -> bool:
    """True where `QueryChunks` covers all that a layer does."""
    extras = (attn.spatial_norm, attn.norm_q, attn.norm_k, attn.norm_cross, attn.added_kv_proj_dim)
    return all(extra is None or extra is False for extra in extras)


def token_chunks(forward: Callable[[Tensor], Tensor], tokens: int) -> Callable[[Tensor], Tensor]:
    """A feed-forward layer's forward, run on some tokens, (...,C), at a time."""

    def run(hidden_states: Tensor) -> Tensor:
        flat = hidden_states.flatten(0, -2)
        if len(flat) <= tokens:
            return forward(hidden_states)
        result: Tensor | None = None
        for start, stop in spans(len(flat), tokens):
            piece = forward(flat[start:stop])
            if result is None:
                result = piece.new_empty(len(flat), piece.shape[-1])
            result[start:stop] = piece
        assert result is not None, "there are no tokens"
        return result.unflatten(0, hidden_states.shape[:-1])

    return run
