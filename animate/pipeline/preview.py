"""Rough pictures of latents: a linear map from a latent's channels to colours.

The map is fitted, once for a call, to the reference picture and its own latents, so it serves any
autoencoder and no network runs for a preview.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from animate.generate.conditioning import encode_image
from animate.generate.engine import Engine
from animate.media.info import Image
from temporal.offload import offloaded


@torch.no_grad()
def latent_colours(engine: Engine, picture: Image) -> Tensor:
    """(C+1,3): colours in [0,1] of each latent channel, and what is added, fitted to a picture."""
    vae, scale = engine.components.vae, engine.latent_scale
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    with offloaded(vae, engine.device, engine.offload):
        latents = encode_image(pixels.to(engine.device).float() / 127.5 - 1, vae)[0]
    small = torch.nn.functional.avg_pool2d(pixels.float() / 255, scale)[0]
    rows = _rows(latents.float().cpu() * float(vae.config.scaling_factor))
    return torch.linalg.lstsq(rows, small.flatten(1).T, driver="gelsd").solution


def preview_picture(latents_Chw: Tensor, colours: Tensor, size: int) -> Image:
    """(H,W,3) uint8 RGB, its longest side `size` pixels at least."""
    height, width = latents_Chw.shape[1:]
    levels = (_rows(latents_Chw.float().cpu()) @ colours).clamp(0, 1) * 255
    small = levels.round().to(torch.uint8).reshape(height, width, 3).numpy()
    factor = max(1, round(size / max(height, width)))
    return cv2.resize(small, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)


def _rows(latents_Chw: Tensor) -> Tensor:
    """(h*w,C+1): channels of each position, and one."""
    flat = latents_Chw.flatten(1).T
    return torch.cat([flat, torch.ones(len(flat), 1)], dim=1)
