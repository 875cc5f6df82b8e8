"""Pictures of a clip before it is decoded: a linear map from latents to colours, or a tiny decoder.

A latent position stands for a square of pixels whose mean colour is very nearly a linear function
of its channels. The map is fitted once for an autoencoder, on pictures of random colours that it
encodes itself, and costs a few thousand multiplications a frame from then on.

Shapes: F frames that are shown, C latent channels, h w latent height and width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from animate.generate.conditioning import encode_image
from animate.generate.schedules import call_sigmas

FRAMES_SHOWN = 4
_PICTURES, _SIDE = 6, 128
"""Pictures that the map is fitted on, and the pixels of their sides."""
_SEED = 20_240_806


class Painter(Protocol):
    """Makes pictures of latents."""

    @property
    def side(self) -> int:
        """Pixels of a side for each latent position."""

    def picture(self, latents_FChw: Tensor) -> np.ndarray:
        """(F,h*side,w*side,3) uint8 RGB."""


@dataclass(frozen=True, kw_only=True)
class LatentColours:
    """Mean colour of the pixels of a latent position, as a linear function of its channels."""

    matrix: Tensor
    """(C+1,3) float32, to [0,1]; the last row is the colour of latents that are zero."""

    @property
    def side(self) -> int:
        """A pixel for each latent position."""
        return 1

    def picture(self, latents_FChw: Tensor) -> np.ndarray:
        """(F,h,w,3) uint8 RGB, a pixel for each latent position."""
        values = latents_FChw.detach().float().cpu().movedim(1, -1)
        colours = values @ self.matrix[:-1] + self.matrix[-1]
        return (colours.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


@dataclass(frozen=True, kw_only=True)
class TinyDecoder:
    """A tiny autoencoder in place of the model's own, a frame at a time."""

    network: Any
    """diffusers' `AutoencoderTiny` for the model's latents, where it computes."""
    side: int
    """Pixels of a side for each latent position."""

    @torch.no_grad()
    def picture(self, latents_FChw: Tensor) -> np.ndarray:
        """(F,h*side,w*side,3) uint8 RGB, of the clip's size."""
        weight = next(self.network.parameters())
        frames = [
            self.network.decode(latents_Chw[None].to(weight), return_dict=False)[0][0]
            for latents_Chw in latents_FChw
        ]
        pixels = torch.stack(frames).movedim(1, -1).float().cpu()
        return (pixels * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8).numpy()


@dataclass(frozen=True, kw_only=True)
class Preview:
    """The clip as it looks after a step, small: for a picture on a screen, not for keeping."""

    step: int
    """Number of steps that are done, from 1."""
    steps: int
    frames: tuple[int, ...]
    """Numbers of the frames that are shown, evenly chosen from the first to the last."""
    pictures: np.ndarray
    """(F,H,W,3) uint8 RGB, by colours an eighth of the clip's size, by a decoder all of it."""
    side: int = 1
    """Pixels of a side for each latent position."""


OnPreview = Callable[[Preview], None]
"""Called after every step, on the thread that computes: it should return at once."""


@dataclass(frozen=True, kw_only=True)
class LivePreview:
    """Who is shown the clip while it is made, and by what."""

    painter: Painter
    on_preview: OnPreview

    def maker(self, latents_FCHW: Tensor, scheduler: Any, *, clean: bool = False) -> PreviewMaker:
        """The maker for a clip that stands before a step of this scheduler, whose steps end with
        clean latents where `clean`."""
        return PreviewMaker(
            self.painter,
            self.on_preview,
            latents_FCHW,
            [*call_sigmas(scheduler), 0.0],
            exploding=not clean and float(scheduler.init_noise_sigma) > 1.5,
        )


@torch.no_grad()
def fit_colours(vae: Any, device: torch.device | str = "cpu") -> LatentColours:
    """The map that comes nearest for pictures of random colours, by least squares.

    vae: an `AutoencoderKLTemporalDecoder` on `device`
    """
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    pictures = _random_pictures()
    latents = torch.cat([encode_image(p[None].to(device), vae).float().cpu() for p in pictures])
    latents = latents * float(vae.config.scaling_factor)  # as the denoiser has them
    colours = F.avg_pool2d((pictures + 1) / 2, scale)
    channels = latents.movedim(1, -1).flatten(0, -2)
    known = torch.cat([channels, torch.ones(len(channels), 1)], dim=1).double()
    target = colours.movedim(1, -1).flatten(0, -2).double()
    # A little of the identity, so that channels that do not vary get no weight.
    gram = known.T @ known + 1e-4 * len(known) * torch.eye(known.shape[1]).double()
    return LatentColours(matrix=torch.linalg.solve(gram, known.T @ target).float())


def _random_pictures() -> Tensor:
    """(n,3,side,side) in [-1,1]: smooth and patched fields of random colours, the same always."""
    generator = torch.Generator().manual_seed(_SEED)
    pictures = []
    for number in range(_PICTURES):
        coarse = torch.rand(1, 3, 4 << number % 3, 4 << number % 3, generator=generator)
        smooth = {"mode": "bilinear", "align_corners": False} if number % 2 else {"mode": "nearest"}
        pictures.append(F.interpolate(coarse, size=(_SIDE, _SIDE), **smooth))
    return torch.cat(pictures) * 2 - 1


def shown_frames(count: int) -> tuple[int, ...]:
    """Evenly chosen frames of a clip of `count`, the first and the last among them."""
    if count <= FRAMES_SHOWN:
        return tuple(range(count))
    return tuple(round(i * (count - 1) / (FRAMES_SHOWN - 1)) for i in range(FRAMES_SHOWN))


class PreviewMaker:
    """Makes a preview of what the denoiser takes the clean latents to be, after every step."""

    def __init__(
        self,
        painter: Painter,
        on_preview: OnPreview,
        latents_FCHW: Tensor,
        sigmas: list[float],
        *,
        exploding: bool,
    ) -> None:
        """
        latents_FCHW: of the clip before the step that comes next
        sigmas: noise level of every step, and 0 after the last
        exploding: latents are clean ones plus noise of that level, as Euler and Heun have them;
            not scaled down to a variance of one, as other solvers do
        """
        self._painter, self._on_preview = painter, on_preview
        self._sigmas, self._exploding = sigmas, exploding
        self.frames = shown_frames(len(latents_FCHW))
        self._before = latents_FCHW[list(self.frames)].clone()

    def __call__(self, step: int, latents_FCHW: Tensor) -> None:
        """The latents after a step, number `step` from 0."""
        after = latents_FCHW[list(self.frames)].clone()
        preview = Preview(
            step=step + 1,
            steps=len(self._sigmas) - 1,
            frames=self.frames,
            pictures=self._painter.picture(self._clean(step, after)),
            side=self._painter.side,
        )
        self._before = after
        self._on_preview(preview)

    def _clean(self, step: int, after: Tensor) -> Tensor:
        """The clean latents that the step went towards: its line, followed to where no noise is."""
        now, following = self._sigmas[step], self._sigmas[step + 1]
        if not self._exploding or now <= following:
            return after
        return self._before - (self._before - after) * (now / (now - following))


def sheet(preview: Preview, enlarge: int = 3) -> np.ndarray:
    """(H,W,3) uint8 RGB: the preview's frames side by side, smoothly enlarged where a latent
    position has one pixel."""
    if preview.side > 1:
        return np.concatenate(list(preview.pictures), axis=1)
    frames = torch.from_numpy(preview.pictures).movedim(-1, 1).float()
    large = F.interpolate(frames, scale_factor=enlarge, mode="bicubic", antialias=True)
    levels = large.round().clamp(0, 255).to(torch.uint8)
    return np.concatenate(list(levels.movedim(1, -1).numpy()), axis=1)
