"""StableAnimator's face encoder: a face vector and the image embedding to a few context tokens.

The face vector becomes tokens, and those query the image embedding in a small perceiver (Tu et al.,
arXiv 2411.17697). The names and shapes of the state dict are those of the published checkpoint.

Shape letters: B pictures, I the face vector's width, E the image embedding's, D the context's,
T face tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from animate.models.config import FaceConfig


class FaceEncoder(nn.Module):
    """Face tokens (B,T,D) of face vectors (B,I) and image embeddings (B,1,E)."""

    def __init__(self, config: FaceConfig) -> None:
        super().__init__()
        self.config = config
        width = config.face_width
        self.proj = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, config.context_width * config.tokens),
        )
        self.norm = nn.LayerNorm(config.context_width)
        self.fusion_model = _Perceiver(config)

    def forward(self, face_BI: Tensor, image_B1E: Tensor) -> Tensor:
        """Tokens (B,T,D)."""
        tokens = self.proj(face_BI).unflatten(1, (self.config.tokens, -1))
        return self.fusion_model(self.norm(tokens), image_B1E)


class _Perceiver(nn.Module):
    def __init__(self, config: FaceConfig) -> None:
        super().__init__()
        width = config.context_width
        self.proj_in = nn.Linear(config.image_width, width)
        self.layers = nn.ModuleList(_Layer(width, config.head_width) for _ in range(config.layers))
        self.proj_out = nn.Linear(width, width)
        self.norm_out = nn.LayerNorm(width)

    def forward(self, tokens_BTD: Tensor, image_B1E: Tensor) -> Tensor:
        context = self.proj_in(image_B1E)
        for layer in self.layers:
            tokens_BTD = layer(tokens_BTD, context)
        return self.norm_out(self.proj_out(tokens_BTD))


class _Layer(nn.ModuleList):
    """Attention and a feed-forward, numbered 0 and 1 as in the published checkpoint."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__([_Attention(width, head_width), _feed_forward(width)])

    def forward(self, tokens_BTD: Tensor, context_BCD: Tensor) -> Tensor:
        tokens_BTD = tokens_BTD + self[0](tokens_BTD, context_BCD)
        return tokens_BTD + self[1](tokens_BTD)


class _Attention(nn.Module):
    """Attention of tokens over a context and themselves; queries and keys are each scaled by the
    fourth root of the head's width, which keeps half precision from overflowing."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.heads = width // head_width
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(width, 2 * width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)

    def forward(self, tokens_BTD: Tensor, context_BCD: Tensor) -> Tensor:
        tokens = self.norm2(tokens_BTD)
        query = self._split(self.to_q(tokens))
        both = torch.cat([self.norm1(context_BCD), tokens], dim=1)
        key, value = (self._split(part) for part in self.to_kv(both).chunk(2, dim=-1))
        scale = query.shape[-1] ** -0.25
        weights = (query * scale) @ (key * scale).transpose(-2, -1)
        weights = weights.float().softmax(-1).to(weights.dtype)
        return self.to_out((weights @ value).transpose(1, 2).flatten(2))

    def _split(self, values: Tensor) -> Tensor:
        return values.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _feed_forward(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, 4 * width, bias=False),
        nn.GELU(),
        nn.Linear(4 * width, width, bias=False),
    )
