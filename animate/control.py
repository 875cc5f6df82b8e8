"""Control frames, drawn when a window needs them: the only pictures of a pose that ever exist."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from animate.values import Size
from pose.draw import draw
from pose.sequence import PoseSequence


class ControlFrames:
    """Draws the skeletons of a clip's frames at the clip's size.

    `poses` lie on the clip's canvas; `style` is the one that the control network was trained on.
    """

    def __init__(self, poses: PoseSequence, size: Size, style: str) -> None:
        self._poses, self._size, self._style = poses, size, style

    def __len__(self) -> int:
        return self._poses.frames

    def picture(self, frame: int) -> np.ndarray:
        """(H,W,3) uint8 RGB: one frame's skeleton; black where nobody was seen."""
        poses = self._poses
        return draw(poses.points[frame], poses.scores[frame], poses.canvas, self._size, self._style)

    def __call__(self, frames: Sequence[int]) -> Tensor:
        """(F,3,H,W) float32 in [0,1] for these frames, on the CPU."""
        pictures = np.stack([self.picture(frame) for frame in frames])
        return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
