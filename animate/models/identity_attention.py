"""StableAnimator's identity attention: face tokens in the spatial cross-attentions of a stock UNet.

Attention processors, set through diffusers' own interface: a spatial cross-attention attends to the
face tokens with projections of its own, brings that to the statistics of its image branch and adds
it; temporal cross-attentions see the image token alone (Tu et al., arXiv 2411.17697).

Shape letters: N rows, Q queries, D the context's width, T face tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
        self.weight: Any = 1.0
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


class IdentityAttentions(nn.Module):
    """The processors of every spatial cross-attention of one UNet, apart from it.

    Their weights are in the UNet's checkpoint: load it within `identity_attention`.
    """

    def __init__(self, unet: Any, tokens: int) -> None:
        """For a stock `UNetSpatioTemporalConditionModel` and a context that ends in face tokens."""
        super().__init__()
        self.tokens = tokens
        self.names = tuple(name for name in unet.attn_processors if _is_spatial_cross(name))
        layers = []
        for name in self.names:
            key = unet.get_submodule(name.removesuffix(".processor")).to_k
            layers.append(IdentityAttention(key.out_features, key.in_features, tokens))
        self.layers = nn.ModuleList(layers)


@contextmanager
def identity_attention(
    unet: Any, identity: IdentityAttentions, weight: float = 1.0
) -> Iterator[None]:
    """Set the processors for the length of the `with` block; temporal cross-attentions leave the
    face tokens out. The UNet is stock again afterwards.

    weight: of the face branch
    """
    before = dict(unet.attn_processors)
    spatial = dict(zip(identity.names, identity.layers, strict=True))
    processors: dict[str, object] = {}
    for name, processor in before.items():
        if name in spatial:
            spatial[name].weight = weight
            processors[name] = spatial[name]
        elif name.endswith("attn2.processor"):
            processors[name] = ImageTokenOnly(processor, identity.tokens)
        else:
            processors[name] = processor
    unet.set_attn_processor(processors)
    try:
        yield
    finally:
        unet.set_attn_processor(before)


def _is_spatial_cross(name: str) -> bool:
    return name.endswith("attn2.processor") and ".temporal_transformer_blocks." not in name


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
