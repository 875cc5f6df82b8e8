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

import torch
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.resnet import Downsample2D, ResnetBlock2D
from torch import Tensor, nn

from animate.models.config import ControlNetworkConfig, ControlNeXtConfig

__all__ = ["ControlNeXt", "ControlNeXtConfig", "ControlNetwork"]


class ControlNetwork(nn.Module):
    """Pose frames and a timestep to features for the UNet, frame by frame.

    No value of one frame reaches another, so a clip may be run in any parts. A network whose
    configuration has `learned_scale` holds it as the parameter `scale`.
    """

    config: ControlNetworkConfig

    def forward(self, frames_BFCHW: Tensor, timestep: Tensor | float) -> Tensor:
        """Features (B*F, out_channels, h, w) of pose frames (B,F,3,H,W) with values in [0,1]."""
        raise NotImplementedError


def in_range(frames: Tensor, low: float, high: float) -> Tensor:
    """Values of [0,1] in the range from `low` to `high`."""
    return frames if (low, high) == (0, 1) else frames * (high - low) + low


class ControlNeXt(ControlNetwork):
    """The control network of the published ControlNeXt: for SVD, both releases, and for stills."""

    config: ControlNeXtConfig

    def __init__(self, config: ControlNeXtConfig) -> None:
        super().__init__()
        self.config = config
        self.time_proj = Timesteps(config.time_channels, True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(config.time_channels, config.time_embed_dim)
        if config.stem_channels:
            self.embedding = _stem(config)
        self.down_res = nn.ModuleList()
        self.down_sample = nn.ModuleList()
        channels = config.stem_width
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
        x = in_range(frames_BFCHW.flatten(0, 1), *self.config.picture_range)
        if self.config.stem_channels:
            x = self.embedding(x)
        for block, downsample in zip(self.down_res, self.down_sample, strict=True):
            x = downsample(block(x, time))
        middle = self.mid_convs[0](x)
        return self.mid_convs[1](middle + x if self.config.mid_shortcut else middle)


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
    """Two convolutions with a ReLU between, normalised in `groups` unless that is 0."""
    layers: list[nn.Module] = [
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1),
    ]
    if groups:
        layers.insert(2, nn.GroupNorm(groups, channels))
        layers.append(nn.GroupNorm(groups, channels))
    return nn.Sequential(*layers)
