"""StableAnimator's identity attention: face tokens in the spatial cross-attentions of a stock UNet.

Attention processors, set through diffusers' own interface: a spatial cross-attention attends to the
face tokens with projections of its own, brings that to the statistics of its image branch and adds
it; temporal cross-attentions see the image token alone (Tu et al., arXiv 2411.17697).

Shape letters: N rows, Q queries, D the context's width, T face tokens, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EPS = 1e-5
"""Added to the face branch's deviation only, as published."""


class IdentityAttention(nn.Module):
    """Processor of a spatial cross-attention; its weights are the published ones by name."""

    def __init__(self, channels: int, context_width: int, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.weight = 1.0
        """Weight of the face branch; 1 as published."""
        self.id_to_k = nn.Linear(context_width, channels, bias=False)
        self.id_to_v = nn.Linear(context_width, channels, bias=False)

    def forward(
        self,
        attention: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """(N,Q,C) of queries (N,Q,C) and a context (N,1+T,D), the face tokens last."""
        assert encoder_hidden_states is not None, "identity attention is for cross-attention"
        image, face = encoder_hidden_states.split(
            (encoder_hidden_states.shape[1] - self.tokens, self.tokens), dim=1
        )
        heads = attention.heads
        query = _split(attention.to_q(hidden_states), heads)
        output = _attend(query, attention.to_k(image), attention.to_v(image), heads)
        identity = _attend(query, self.id_to_k(face), self.id_to_v(face), heads)
        output = output + self.weight * match_statistics(identity, output)
        return attention.to_out[1](attention.to_out[0](output))


class ImageTokenOnly:
    """Processor of a temporal cross-attention, which leaves the face tokens out."""

    def __init__(self, inner: Any, tokens: int) -> None:
        self.inner, self.tokens = inner, tokens

    def __call__(
        self,
        attention: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        **more: Any,
    ) -> Tensor:
        """The inner processor's result for the context without its last tokens."""
        context = encoder_hidden_states[:, : -self.tokens]
        return self.inner(attention, hidden_states, context, attention_mask, **more)


def set_identity_attention(unet: Any, tokens: int) -> None:
    """Set the processors on every cross-attention of a stock `UNetSpatioTemporalConditionModel`.

    Call it before loading weights: the face projections are in the UNet's checkpoint.
    """
    processors = {}
    for name, processor in unet.attn_processors.items():
        attention = unet.get_submodule(name.removesuffix(".processor"))
        if name.endswith("attn1.processor"):
            processors[name] = processor
        elif ".temporal_transformer_blocks." in name:
            processors[name] = ImageTokenOnly(processor, tokens)
        else:
            width = attention.to_k.in_features
            identity = IdentityAttention(attention.to_k.out_features, width, tokens)
            processors[name] = identity.to(attention.to_k.weight)
    unet.set_attn_processor(processors)


def match_statistics(values_NQC: Tensor, like_NQC: Tensor) -> Tensor:
    """`values` with the mean and unbiased deviation of `like`, row by row over tokens and channels,
    in float32 at least."""
    exact = torch.promote_types(like_NQC.dtype, torch.float32)
    std, mean = torch.std_mean(like_NQC.to(exact), dim=(1, 2), keepdim=True)
    values = values_NQC.to(exact)
    std_before, mean_before = torch.std_mean(values, dim=(1, 2), keepdim=True)
    return ((values - mean_before) / (std_before + _EPS) * std + mean).to(like_NQC.dtype)


def _split(values: Tensor, heads: int) -> Tensor:
    return values.unflatten(-1, (heads, -1)).transpose(1, 2)


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    output = F.scaled_dot_product_attention(query, _split(key, heads), _split(value, heads))
    return output.transpose(1, 2).flatten(2)
