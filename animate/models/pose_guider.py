"""The pose guider of AnimateAnyone: diffusers' own embedding of a control picture.

Its output is added to the UNet's `conv_in` output as it is, on both halves of guidance. The names
and shapes of the state dict are those of the published checkpoint (Hu et al., arXiv 2311.17117).
"""

from __future__ import annotations

from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from torch import Tensor

from animate.models.config import PoseGuiderConfig
from animate.models.controlnext import ControlNetwork, in_range

__all__ = ["PoseGuider", "PoseGuiderConfig"]


class PoseGuider(ControlNetConditioningEmbedding, ControlNetwork):
    """Pose frames to features for the UNet, an eighth as wide and high, frame by frame."""

    config: PoseGuiderConfig

    def __init__(self, config: PoseGuiderConfig) -> None:
        super().__init__(config.out_channels, config.in_channels, tuple(config.channels))
        self.config = config

    def forward(self, frames_BFCHW: Tensor, timestep: Tensor | float) -> Tensor:
        """Features (B*F, out_channels, h, w) of pose frames (B,F,3,H,W) with values in [0,1].

        `timestep` plays no part: it is in the signature that all control networks share.
        """
        pictures = in_range(frames_BFCHW.flatten(0, 1), *self.config.picture_range)
        features: Tensor = ControlNetConditioningEmbedding.forward(self, pictures)
        return features
