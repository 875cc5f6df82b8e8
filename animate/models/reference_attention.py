"""ReferenceNet: self-attention over the reference's own features, by attention processors.

A second UNet sees the reference once; each of its transformer blocks hands over the input of its
self-attention, and the block of the same name in the denoising UNet attends to its own tokens and
those, in the conditional half only (Hu et al., arXiv 2311.17117). Both networks stay stock.

Shape letters: N rows (a frame of a half each), Q tokens of a frame, C channels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from animate.errors import InternalError


class ReferenceBank:
    """Features that the reference's UNet hands over, by the name of their self-attention."""

    def __init__(self, features: Mapping[str, Tensor] | None = None) -> None:
        self.features: dict[str, Tensor] = dict(features or {})
        """(1,Q,C) of each self-attention."""
        self._rows: tuple[bool, ...] = (True,)

    @contextmanager
    def shown(self, rows: Sequence[bool]) -> Iterator[None]:
        """Show the reference to some of the clips of a batch within the `with` block.

        rows: True for each clip of the denoising UNet's batch that sees it
        """
        before, self._rows = self._rows, tuple(rows)
        try:
            yield
        finally:
            self._rows = before

    @property
    def rows(self) -> tuple[bool, ...]:
        """True for each clip of the batch that sees the reference."""
        return self._rows

    def rounded(self, dtype: torch.dtype) -> ReferenceBank:
        """The same features rounded to `dtype`: the published loop hands over float16."""
        return ReferenceBank(
            {name: value.to(dtype).to(value.dtype) for name, value in self.features.items()}
        )


@contextmanager
def reference_written(unet: Any, bank: ReferenceBank) -> Iterator[None]:
    """Have a call of the reference's UNet fill `bank` for the length of the `with` block."""

    def processor(name: str, inner: Any) -> Any:
        return _Writer(name, inner, bank)

    with _self_attention(unet, processor):
        yield


@contextmanager
def reference_read(unet: Any, bank: ReferenceBank) -> Iterator[None]:
    """Have the denoising UNet attend to `bank` for the length of the `with` block.

    Raises InternalError when a self-attention has no counterpart in the bank.
    """

    def processor(name: str, inner: Any) -> Any:
        if name not in bank.features:
            raise InternalError(f"the reference network hands over nothing for {name}")
        return _Reader(name, bank)

    with _self_attention(unet, processor):
        yield


@contextmanager
def _self_attention(unet: Any, processor: Any) -> Iterator[None]:
    before = dict(unet.attn_processors)
    after = {
        name: processor(name, inner) if _is_spatial_self_attention(name) else inner
        for name, inner in before.items()
    }
    unet.set_attn_processor(after)
    try:
        yield
    finally:
        unet.set_attn_processor(before)


def _is_spatial_self_attention(name: str) -> bool:
    return name.endswith("attn1.processor") and "motion_modules" not in name


class _Writer:
    def __init__(self, name: str, inner: Any, bank: ReferenceBank) -> None:
        self.name, self.inner, self.bank = name, inner, bank

    def __call__(self, attention: Any, hidden_states: Tensor, *args: Any, **more: Any) -> Tensor:
        self.bank.features[self.name] = hidden_states
        output: Tensor = self.inner(attention, hidden_states, *args, **more)
        return output


class _Reader:
    def __init__(self, name: str, bank: ReferenceBank) -> None:
        self.name, self.bank = name, bank

    def __call__(
        self,
        attention: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **more: Any,
    ) -> Tensor:
        clips = hidden_states.chunk(len(self.bank.rows))
        features = self.bank.features[self.name].to(hidden_states)
        outputs = []
        for rows, sees in zip(clips, self.bank.rows, strict=True):
            context = torch.cat([rows, features.expand(len(rows), -1, -1)], 1) if sees else rows
            outputs.append(_attend(attention, rows, context))
        return torch.cat(outputs)


def _attend(attention: Any, rows_NQC: Tensor, context_NKC: Tensor) -> Tensor:
    query, key, value = (
        projected.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        for projected in (
            attention.to_q(rows_NQC),
            attention.to_k(context_NKC),
            attention.to_v(context_NKC),
        )
    )
    output = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    projected: Tensor = attention.to_out[1](attention.to_out[0](output))
    return projected


class FrameGroupNorm(nn.GroupNorm):
    """Group normalisation of (B,C,F,h,w) frame by frame.

    diffusers normalises the input of a motion module over all frames of a clip; AnimateAnyone's
    were trained frame by frame.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B,C,F,h,w)."""
        frames = input.transpose(1, 2)
        return super().forward(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).transpose(1, 2)


def normalise_frames(unet: Any) -> None:
    """Let the motion modules of a stock `UNetMotionModel` normalise frame by frame, for good."""
    for name, module in unet.named_modules():
        if name.rpartition(".")[0].endswith("motion_modules"):
            norm = module.norm
            each = FrameGroupNorm(norm.num_groups, norm.num_channels, norm.eps)
            each.load_state_dict(norm.state_dict())
            module.norm = each.to(norm.weight)


def published_name(name: str) -> str:
    """The published checkpoint's name of a tensor of a stock `UNetMotionModel`."""
    if "motion_modules" not in name:
        return name
    name = re.sub(r"(motion_modules\.\d+)\.", r"\1.temporal_transformer.", name)
    for ours, theirs in (
        (".attn1.", ".attention_blocks.0."),
        (".attn2.", ".attention_blocks.1."),
        (".norm1.", ".norms.0."),
        (".norm2.", ".norms.1."),
        (".norm3.", ".ff_norm."),
    ):
        name = name.replace(ours, theirs)
    return name


def read_published(weights: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The tensors of a published file by the names of a stock UNet.

    The file's sinusoids are left out, as the network makes the same; other names that the network
    does not have stay as they are.
    """
    names = {published_name(name): name for name in network.state_dict()}
    return {
        names.get(name, name): value
        for name, value in weights.items()
        if not name.endswith("pos_encoder.pe")
    }
