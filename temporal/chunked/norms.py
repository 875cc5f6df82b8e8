"""Group normalisation of a tensor that is never worked on whole: statistics first, then pieces.

A temporal block normalises over the channels of a group, all frames and all pixels. A piece of the
pixels would have a mean and variance of its own, so these are merged over the pieces first (Chan,
Golub and LeVeque 1979), in float32, and then applied to each piece.

Legend: B batch, C channels; a piece is (B,C,...).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GroupStatistics:
    """Mean and variance by batch element and group, merged from pieces of any size."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        self.groups = norm.num_groups
        self._pieces: list[tuple[int, Tensor, Tensor]] = []

    def add(self, piece: Tensor) -> None:
        """Take in a piece, (B,C,...), of any length behind the channels."""
        # In two sweeps of plain reductions: `torch.var_mean` takes ten times as long on a CPU.
        values = piece.flatten(2).float()
        mean = values.mean(-1, keepdim=True)
        variance = (values - mean).square_().mean(-1)
        self._pieces.append((values.shape[-1], mean[..., 0], variance))

    def by_channel(self) -> tuple[Tensor, Tensor]:
        """(B,C) mean and (B,C) variance of the group that each channel is in, float32."""
        total = sum(count for count, _, _ in self._pieces)
        mean = sum_of([m * (count / total) for count, m, _ in self._pieces])
        variance = sum_of(
            [(v + (m - mean).square()) * (count / total) for count, m, v in self._pieces]
        )
        per_group = mean.shape[1] // self.groups
        mean, variance = (x.unflatten(1, (self.groups, per_group)) for x in (mean, variance))
        group_mean = mean.mean(2, keepdim=True)
        group_variance = (variance + (mean - group_mean).square()).mean(2, keepdim=True)
        wide = (-1, -1, per_group)
        return group_mean.expand(wide).flatten(1), group_variance.expand(wide).flatten(1)


def sum_of(terms: list[Tensor]) -> Tensor:
    """Sum of a non-empty list."""
    return torch.stack(terms).sum(0)


def normalise(piece: Tensor, norm: nn.GroupNorm, mean_BC: Tensor, variance_BC: Tensor) -> Tensor:
    """Normalise a piece, (B,C,...), with statistics that were taken elsewhere.

    Batch normalisation in its evaluating form is exactly this, in one sweep, with float32
    statistics beside half-precision values; it takes one batch element at a time.
    """
    weight = None if norm.weight is None else norm.weight.float()
    bias = None if norm.bias is None else norm.bias.float()
    parts = [
        nn.functional.batch_norm(piece[b : b + 1], mean, variance, weight, bias, eps=norm.eps)
        for b, (mean, variance) in enumerate(zip(mean_BC, variance_BC, strict=True))
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)
