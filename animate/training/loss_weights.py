"""Weights of the loss: more near the skeleton, on the face, on the hands.

Shapes: B clips, F frames, 134 points, H x W pixels, h x w latent positions.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from animate.training.finetune_config import WeighedObjective
from animate.training.objective import drawn_near
from pose.layout import FACE, HANDS, SEEN

_MARGIN = 0.15
"""A part's box is widened by this share of its longer side: points lie within a face and a hand."""


def part_weights(
    objective: WeighedObjective,
    control_BF3HW: Tensor,
    points_BFP2: NDArray[np.float32],
    scores_BFP: NDArray[np.float32],
    latent_size: tuple[int, int],
) -> Tensor:
    """Weights (B,F,1,h,w): the largest of what applies at a position, brought to the mean 1 in
    each frame."""
    near = drawn_near(control_BF3HW, latent_size).float()
    weights = 1 + (objective.near_weight - 1) * near
    height, width = control_BF3HW.shape[-2:]
    parts = [(FACE, objective.face_weight), *((hand, objective.hand_weight) for hand in HANDS)]
    for part, weight in parts:
        boxes = _boxes(points_BFP2[:, :, part], scores_BFP[:, :, part], (width, height))
        inside = _inside(boxes, latent_size).to(weights.device)
        weights = torch.where(inside, torch.full_like(weights, weight).maximum(weights), weights)
    return weights / weights.mean((-3, -2, -1), keepdim=True)


def _boxes(
    points: NDArray[np.float32], scores: NDArray[np.float32], size: tuple[int, int]
) -> NDArray[np.float64]:
    """(B,F,4) left, top, right, bottom of the seen points, as shares of the picture; an empty box
    where fewer than three are seen."""
    seen = scores >= SEEN
    low = np.where(seen[..., None], points, np.inf).min(2)
    high = np.where(seen[..., None], points, -np.inf).max(2)
    enough = seen.sum(2) >= 3
    low, high = np.where(enough[..., None], low, 1), np.where(enough[..., None], high, 0)
    margin = _MARGIN * (high - low).max(-1, keepdims=True)
    box = np.concatenate([(low - margin) / size, (high + margin) / size], -1)
    return np.where(enough[..., None], box, [1, 1, 0, 0])


def _inside(boxes_BF4: NDArray[np.float64], latent_size: tuple[int, int]) -> Tensor:
    """(B,F,1,h,w): positions that a box touches."""
    height, width = latent_size
    left, top, right, bottom = np.moveaxis(boxes_BF4, -1, 0)[..., None]
    columns, rows = np.arange(width), np.arange(height)
    across = (columns + 1 > left * width) & (columns < right * width)
    down = (rows + 1 > top * height) & (rows < bottom * height)
    return torch.from_numpy(down[:, :, None, :, None] & across[:, :, None, None, :])
