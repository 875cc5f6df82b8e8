"""The pose network of MimicMotion and StableAnimator.

Plain convolutions without a timestep or normalisation; their output is added to the UNet's
`conv_in` output as it is. The names and shapes of the state dict are those of the published
checkpoints (Zhang et al., arXiv 2406.19680; Tu et al., arXiv 2411.17697).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from animate.models.config import PoseNetConfig
from animate.models.controlnext import ControlNetwork, in_range

__all__ = ["PoseNet", "PoseNetConfig"]


class PoseNet(ControlNetwork):
    """Pose frames to features for the UNet, frame by frame.

    Shape letters: B clips, F frames, H x W pixels of a pose frame, h x w a quarter to an eighth.
    """

    config: PoseNetConfig

    def __init__(self, config: PoseNetConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = [_conv(config.in_channels, config.in_channels), nn.SiLU()]
        width = config.in_channels
        for channels in config.channels[:-1]:
            layers += [nn.Conv2d(width, channels, 4, stride=2, padding=1), nn.SiLU()]
            layers += [_conv(channels, channels), nn.SiLU()]
            width = channels
        layers += [_conv(width, config.channels[-1]), nn.SiLU()]
        self.conv_layers = nn.Sequential(*layers)
        self.final_proj = nn.Conv2d(config.channels[-1], config.out_channels, 1)
        self.scale = nn.Parameter(torch.full((1,), 2.0))

    def forward(self, frames_BFCHW: Tensor, timestep: Tensor | float) -> Tensor:
        """Features (B*F, out_channels, h, w) of pose frames (B,F,3,H,W) with values in [0,1].

        `timestep` plays no part: it is in the signature that all control networks share.
        """
        x = in_range(frames_BFCHW.flatten(0, 1), *self.config.picture_range)
        return self.final_proj(self.conv_layers(x)) * self.scale


def _conv(channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, 3, padding=1)
