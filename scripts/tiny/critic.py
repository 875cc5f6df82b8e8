"""The discriminator of the last stage, and the losses in pixels beside it.

Shapes: N frames, 3 colours, H x W pixels; frames in [-1,1], control pictures in [0,1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchCritic(nn.Module):
    """A patch discriminator: does a region look like a frame of this skeleton?"""

    def __init__(self, width: int) -> None:
        super().__init__()
        norm = nn.utils.spectral_norm
        sizes = ((6, width, 2), (width, 2 * width, 2), (2 * width, 4 * width, 1))
        self.layers = nn.ModuleList(
            norm(nn.Conv2d(inputs, outputs, 4, stride, 1)) for inputs, outputs, stride in sizes
        )
        self.judgement = norm(nn.Conv2d(4 * width, 1, 4, 1, 1))

    def forward(self, frames_N3HW: Tensor, control_N3HW: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Judgements (N,1,h,w), positive for true, and the features of each layer.

        frames in [-1,1], control pictures in [0,1]
        """
        values, features = torch.cat([frames_N3HW, 2 * control_N3HW - 1], 1), []
        for layer in self.layers:
            values = F.leaky_relu(layer(values), 0.2)
            features.append(values)
        return self.judgement(values), features


def pull_of(losses_N: Tensor, frames: Tensor) -> Tensor:
    """Length of the gradient of a mean loss at the frames' pixels."""
    [gradient] = torch.autograd.grad(losses_N.mean(), frames, retain_graph=True)
    return gradient.norm()


def slope_error(difference_N3HW: Tensor, weights_N1HW: Tensor, scales: int = 3) -> Tensor:
    """(N,) mean absolute error of slopes, over the picture and halved versions of it."""
    total = difference_N3HW.new_zeros(len(difference_N3HW))
    for scale in range(scales):
        if scale:
            difference_N3HW = F.avg_pool2d(difference_N3HW, 2)
            weights_N1HW = F.avg_pool2d(weights_N1HW, 2)
        across = difference_N3HW[..., 1:] - difference_N3HW[..., :-1]
        down = difference_N3HW[..., 1:, :] - difference_N3HW[..., :-1, :]
        total = total + (across.abs() * weights_N1HW[..., 1:]).mean((1, 2, 3))
        total = total + (down.abs() * weights_N1HW[..., 1:, :]).mean((1, 2, 3))
    return total / scales
