"""The ways to bring control features into the UNet's that are compared here.

The published code is `animate.models.injection.cross_normalise`; beside it the paper's equation
10, ControlNet's zero convolution, feature modulation, and nothing at all.

Shape letters: N rows, C channels, h x w positions of the UNet's features, h' x w' of the control's.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Formula = Literal["code", "paper", "zero", "film", "film-channel", "plain"]
"""`code`: the published code's cross normalisation, as the product runs it; `paper`: equation 10;
`zero`: a 1x1 convolution that starts at zero; `film`: a scale and a shift of the normalised
features at every position, from a 1x1 convolution that starts at zero; `film-channel`: one scale
and one shift for each channel; `plain`: added as it is."""
FORMULAS = get_args(Formula)


def paper_normalise(control: Tensor, features: Tensor, eps: float = 1e-5) -> Tensor:
    """Equation 10 of arXiv 2408.06070 without its learned scale: `(c - mean_x) / sqrt(var_x + eps)`
    with the statistics of the main branch alone, for each row over channels and positions.

    `control` (N,C,h',w') comes back at the size (h,w) of `features` (N,C,h,w). The paper does not
    say over what the mean is taken; this is what the published code takes it over.
    """
    variance, mean = features.var((1, 2, 3), keepdim=True), features.mean((1, 2, 3), keepdim=True)
    pooled = at_size_of(control, features)
    return (pooled - mean) / (variance + eps).sqrt()


def at_size_of(control: Tensor, features: Tensor) -> Tensor:
    """Control features averaged to the height and width of the UNet's."""
    height, width = features.shape[-2:]
    return F.adaptive_avg_pool2d(control, (height, width))


def modulation(control_N2Chw: Tensor, features: Tensor, eps: float = 1e-5) -> Tensor:
    """Change of `features` (N,C,h,w) by feature modulation (FiLM, arXiv 1709.07871).

    control: (N,2C,h,w) or (N,2C,1,1), a scale and then a shift of each channel; 0 changes nothing

    The features are normalised for each row over channels and positions, as cross normalisation
    does it, multiplied by 1 + scale, shifted, and given their own statistics back.
    """
    scale, shift = control_N2Chw.chunk(2, 1)
    deviation, mean = torch.std_mean(features, dim=(1, 2, 3), keepdim=True)
    normalised = (features - mean) / (deviation + eps)
    return deviation * (scale * normalised + shift)
