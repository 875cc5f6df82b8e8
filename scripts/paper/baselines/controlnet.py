"""ControlNet's way of control, for measurement beside ControlNeXt: a trainable copy of the encoder.

Zhang et al., arXiv 2302.05543: the encoder half and the middle block of the base are copied, the
copy reads the same noisy latents plus an encoded control picture, and every one of its feature maps
goes through a 1x1 convolution that starts at zero and is added to what the base's decoder receives.
The base itself is frozen. diffusers has this for image models (`ControlNetModel`); here it is for
`UNetSpatioTemporalConditionModel`, which has none.

Shape letters: B clips, F frames, N = B*F rows, C channels, H x W pixels of a pose frame, h x w
positions of the latents, D width of the image embedding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

# Of the published network: it brings a picture to an eighth of its size.
CONDITION_CHANNELS = (16, 32, 96, 256)


_COPIED = ("time_proj", "time_embedding", "add_time_proj", "add_embedding", "conv_in")


class EncoderCopy(nn.Module):
    """The copy, its control encoder and its zero convolutions.

    `condition_channels` has one entry more than the control picture is halved times on its way to
    the size of the latents.
    """

    time_proj: nn.Module
    time_embedding: nn.Module
    add_time_proj: nn.Module
    add_embedding: nn.Module
    conv_in: nn.Module

    def __init__(
        self,
        unet: Any,
        condition_channels: Sequence[int] = CONDITION_CHANNELS,
        *,
        take: bool = False,
    ) -> None:
        """With `take` the UNet's own modules are used up instead of copied."""
        super().__init__()
        copied: Callable[[Any], Any] = _unchanged if take else copy.deepcopy
        for name in _COPIED:
            setattr(self, name, copied(getattr(unet, name)))
        self.down_blocks = copied(unet.down_blocks)
        self.mid_block = copied(unet.mid_block)
        self.condition = condition_encoder(condition_channels, unet.conv_in.out_channels)
        self.zero_convs = nn.ModuleList(zero_conv(size) for size in skip_channels(unet))
        self.zero_mid = zero_conv(unet.config.block_out_channels[-1])

    def forward(
        self,
        sample_BFCHW: Tensor,
        timestep_B: Tensor,
        encoder_hidden_states: Tensor,
        added_time_ids: Tensor,
        control_BF3HW: Tensor,
    ) -> tuple[list[Tensor], Tensor]:
        """Residuals (N,C,h',w') for every skip tensor of the base, and one for its middle block.

        The first four arguments are the base's own: sample (B,F,C,h,w), timesteps (B,), embedding
        (B,1,D), micro-conditions (B,3); control frames have values in [0,1].
        """
        clips, frames = sample_BFCHW.shape[:2]
        time = self._time(timestep_B.expand(clips), added_time_ids, sample_BFCHW.dtype)
        shared = {
            "temb": time.repeat_interleave(frames, 0),
            "image_only_indicator": torch.zeros(clips, frames, dtype=sample_BFCHW.dtype),
        }
        attended = {**shared, "encoder_hidden_states": encoder_hidden_states.repeat_interleave(
            frames, 0
        )}  # fmt: skip
        x = self.conv_in(sample_BFCHW.flatten(0, 1)) + self.condition(control_BF3HW.flatten(0, 1))
        skips = [x]
        for block in self.down_blocks:
            crossed = getattr(block, "has_cross_attention", False)
            x, more = block(hidden_states=x, **(attended if crossed else shared))
            skips += more
        x = self.mid_block(hidden_states=x, **attended)
        residuals = [zero(skip) for zero, skip in zip(self.zero_convs, skips, strict=True)]
        return residuals, self.zero_mid(x)

    def _time(self, timestep_B: Tensor, added_time_ids: Tensor, dtype: torch.dtype) -> Tensor:
        time = self.time_embedding(self.time_proj(timestep_B).to(dtype))
        added = self.add_time_proj(added_time_ids.flatten()).reshape(len(added_time_ids), -1)
        return time + self.add_embedding(added.to(dtype))


def _unchanged(module: Any) -> Any:
    return module


def zero_conv(channels: int, out_channels: int | None = None) -> nn.Conv2d:
    """A 1x1 convolution whose weights and biases start at zero."""
    conv = nn.Conv2d(channels, out_channels or channels, 1)
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
    return conv


def condition_encoder(channels: Sequence[int], out_channels: int) -> nn.Sequential:
    """Pictures (N,3,H,W) to (N,out_channels,h,w); each channel size after the first halves them.
    The last convolution starts at zero."""
    layers: list[nn.Module] = [nn.Conv2d(3, channels[0], 3, padding=1), nn.SiLU()]
    for size, wider in pairwise(channels):
        layers += [nn.Conv2d(size, size, 3, padding=1), nn.SiLU()]
        layers += [nn.Conv2d(size, wider, 3, padding=1, stride=2), nn.SiLU()]
    last = nn.Conv2d(channels[-1], out_channels, 3, padding=1)
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    return nn.Sequential(*layers, last)


def skip_channels(unet: Any) -> list[int]:
    """Channels of the skip tensors in the order in which the encoder makes them."""
    sizes = [unet.conv_in.out_channels]
    for block, size in zip(unet.down_blocks, unet.config.block_out_channels, strict=True):
        sizes += [size] * (len(block.resnets) + (block.downsamplers is not None))
    return sizes


class Residuals:
    """Residuals for the base's skip tensors and its middle block's output."""

    def __init__(self) -> None:
        self.skips: Sequence[Tensor] | None = None
        self.middle: Tensor | None = None

    def set(self, values: tuple[Sequence[Tensor], Tensor] | None) -> None:
        """Residuals that `EncoderCopy` returned, or None for the base alone."""
        self.skips, self.middle = values if values is not None else (None, None)


@contextmanager
def add_residuals(unet: Any) -> Iterator[Residuals]:
    """Hooks that add residuals to a stock UNet for the length of the `with` block."""
    port = Residuals()
    with ExitStack() as stack:
        hook = unet.mid_block.register_forward_hook(
            lambda _block, _args, out: out if port.middle is None else out + port.middle
        )
        stack.callback(hook.remove)
        last = len(skip_channels(unet))
        for block in unet.up_blocks:
            first = last - len(block.resnets)
            taking = block.register_forward_pre_hook(_adding(port, first, last), with_kwargs=True)
            stack.callback(taking.remove)
            last = first
        try:
            yield port
        finally:
            port.set(None)


def _adding(port: Residuals, first: int, last: int) -> Callable[..., Any]:
    """The decoder's blocks take the skip tensors from the end; this one takes first to last."""

    def hook(_block: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> Any:
        if port.skips is None:
            return args, kwargs
        pairs = zip(kwargs["res_hidden_states_tuple"], port.skips[first:last], strict=True)
        return args, {**kwargs, "res_hidden_states_tuple": tuple(a + b for a, b in pairs)}

    return hook
