"""The control network of ControlNeXt for Stable Video Diffusion.

A few convolution blocks turn each pose frame into one feature map (Peng et al., arXiv 2408.06070,
section 3.2). One class serves both published networks and the bundled model; what differs stands
in `ControlNeXtConfig`, which the model variant fills:

- v1 (the paper's -S): a max-pool closes the stem, three blocks, 1280 channels out, and a learned
  scalar `scale` that sets the weight of the injection;
- v2 (-F): two blocks, 320 channels out.

The names and shapes of the state dict are those of the published checkpoints.

Shape letters: B clips, F frames, C channels, H x W pixels of a pose frame, h x w of its features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.resnet import Downsample2D, ResnetBlock2D
from torch import Tensor, nn

from animate.errors import ModelError


@dataclass(frozen=True, kw_only=True)
class ControlNeXtConfig:
    """Sizes of a control network. The defaults are those that both published networks share.

    Raises `ModelError` where two sizes do not fit together.
    """

    in_channels: int = 3
    """Channels of a control frame (RGB)."""
    stem_channels: tuple[int, int] = (64, 128)
    """Channels of the stem's first two convolutions, and of its third."""
    stem_groups: int = 2
    """Groups of the stem's group normalisations."""
    stem_padding: int = 0
    """Zero padding of the stem's second and third convolution: 0 in the published inference code,
    1 in the published training code."""
    stem_pool: bool = False
    """Whether a 2x2 max-pool closes the stem (v1)."""
    block_channels: tuple[int, ...] = (128, 256)
    """Output channels of each residual block; every block halves the resolution."""
    block_groups: tuple[int, ...] = (4, 8)
    """Groups of each residual block's normalisations."""
    mid_groups: int = 8
    """Groups of the middle convolutions' normalisations."""
    out_channels: int = 320
    """Channels of the features: those of the UNet at the place of injection."""
    time_channels: int = 128
    """Sinusoids that encode the timestep (even)."""
    time_embed_dim: int = 256
    """Width of the timestep's embedding."""
    learned_scale: bool = False
    """Whether the checkpoint holds a scalar `scale` (v1)."""

    def __post_init__(self) -> None:
        for name in ("stem_channels", "block_channels", "block_groups"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.stem_channels) != 2:
            raise ModelError(
                f"controlnext.stem_channels must be two sizes, not {self.stem_channels}"
            )
        if not self.block_channels or len(self.block_channels) != len(self.block_groups):
            raise ModelError(
                "controlnext.block_channels and block_groups must name the same, at least one, "
                f"number of blocks, not {self.block_channels} and {self.block_groups}"
            )
        if self.stem_padding not in (0, 1):
            raise ModelError(f"controlnext.stem_padding must be 0 or 1, not {self.stem_padding}")
        if self.time_channels < 2 or self.time_channels % 2:
            raise ModelError(
                f"controlnext.time_channels must be even and positive, not {self.time_channels}"
            )
        self._check_groups()

    def _check_groups(self) -> None:
        inputs = (self.stem_channels[1], *self.block_channels)
        grouped = [(size, self.stem_groups) for size in self.stem_channels]
        for index, groups in enumerate(self.block_groups):
            grouped += [(inputs[index], groups), (inputs[index + 1], groups)]
        grouped.append((self.block_channels[-1], self.mid_groups))
        for channels, groups in grouped:
            if groups < 1 or channels < 1 or channels % groups:
                raise ModelError(
                    f"controlnext: {channels} channels cannot be normalised in {groups} groups"
                )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of all fields, as a variant file spells them."""
        return tuple(field.name for field in fields(cls))


class ControlNeXt(nn.Module):
    """Pose frames and a timestep to features for the UNet, frame by frame.

    No value of one frame reaches another, so a clip may be run in any parts.
    """

    def __init__(self, config: ControlNeXtConfig) -> None:
        super().__init__()
        self.config = config
        self.time_proj = Timesteps(config.time_channels, True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(config.time_channels, config.time_embed_dim)
        self.embedding = _stem(config)
        self.down_res = nn.ModuleList()
        self.down_sample = nn.ModuleList()
        channels = config.stem_channels[1]
        for out_channels, groups in zip(config.block_channels, config.block_groups, strict=True):
            block = ResnetBlock2D(
                in_channels=channels,
                out_channels=out_channels,
                temb_channels=config.time_embed_dim,
                groups=groups,
            )
            self.down_res.append(block)
            self.down_sample.append(
                Downsample2D(
                    out_channels, use_conv=True, out_channels=out_channels, padding=1, name="op"
                )
            )
            channels = out_channels
        self.mid_convs = nn.ModuleList(
            [_middle(channels, config.mid_groups), nn.Conv2d(channels, config.out_channels, 1)]
        )
        if config.learned_scale:
            self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, frames_BFCHW: Tensor, timestep: Tensor | float) -> Tensor:
        """Features (B*F, out_channels, h, w) of pose frames (B,F,3,H,W) with values in [0,1].

        `timestep` is the scheduler's (for Stable Video Diffusion a quarter of the logarithm of
        sigma): one number, or one for each of the B clips.
        """
        clips, frames = frames_BFCHW.shape[:2]
        steps = torch.as_tensor(timestep, device=frames_BFCHW.device).reshape(-1).expand(clips)
        # The sinusoids come in float32 whatever the network's precision.
        time = self.time_embedding(self.time_proj(steps).to(frames_BFCHW.dtype))
        time = time.repeat_interleave(frames, dim=0, output_size=clips * frames)
        x = self.embedding(frames_BFCHW.flatten(0, 1))
        for block, downsample in zip(self.down_res, self.down_sample, strict=True):
            x = downsample(block(x, time))
        return self.mid_convs[1](self.mid_convs[0](x) + x)


def _stem(config: ControlNeXtConfig) -> nn.Sequential:
    first, last = config.stem_channels
    padding = config.stem_padding
    layers: list[nn.Module] = []
    sizes: Sequence[tuple[int, int, int, int]] = (
        (config.in_channels, first, 2, 1),
        (first, first, 1, padding),
        (first, last, 1, padding),
    )
    for channels, out_channels, stride, pad in sizes:
        layers += [
            nn.Conv2d(channels, out_channels, 3, stride=stride, padding=pad),
            nn.GroupNorm(config.stem_groups, out_channels),
            nn.ReLU(),
        ]
    if config.stem_pool:
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers)


def _middle(channels: int, groups: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.ReLU(),
        nn.GroupNorm(groups, channels),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.GroupNorm(groups, channels),
    )
