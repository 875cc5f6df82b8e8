"""Conditions that the UNet takes from the reference image.

Shapes: B clips (here 1), T context tokens, D width of the image embedding, C H W a latent.
Images are RGB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

FramePictures = Callable[[int], np.ndarray]
"""The picture (H,W,3) uint8 that a frame of the clip has in place of the reference."""


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """Conditions of one clip, the same at every step.

    embedding: (1,T,D) context of every cross-attention: the image embedding, and after it the face
        tokens of models that have them
    latents: (1,C,H,W) the encoded image, not multiplied by the VAE's scaling factor
    micro: (1,3) frame rate, motion bucket, noise augmentation
    reference: features (1,Q,C) of a second UNet that sees the reference, by the name of their
        self-attention; empty without one
    frame_latents: (F,C,H,W) float16 on the host, in place of `latents` for each frame; None: all
        frames have `latents`
    """

    embedding: Tensor
    latents: Tensor
    micro: Tensor
    frame_latents: Tensor | None = None
    reference: Mapping[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Conditioning:
        """The same elsewhere; nothing is copied where it is there already."""
        return Conditioning(
            embedding=self.embedding.to(device, dtype),
            latents=self.latents.to(device, dtype),
            micro=self.micro.to(device, dtype),
            frame_latents=self.frame_latents,
            reference={name: x.to(device, dtype) for name, x in self.reference.items()},
        )

    def with_face(self, tokens_1TD: Tensor) -> Conditioning:
        """The same with face tokens after the image's."""
        return replace(self, embedding=torch.cat([self.embedding, tokens_1TD], 1))

    def unconditional(self) -> Conditioning:
        """Conditions of the unconditional half: no embedding, no image, the same constants."""
        return Conditioning(
            embedding=torch.zeros_like(self.embedding),
            latents=torch.zeros_like(self.latents),
            micro=self.micro,
        )


@torch.no_grad()
def encode_reference(
    image: np.ndarray,
    *,
    image_encoder: Any,
    vae: Any,
    feature_mean: Sequence[float],
    feature_std: Sequence[float],
    micro_conditions: Sequence[float],
    noise: Tensor,
    device: torch.device | str = "cpu",
    placed: Callable[[Any], AbstractContextManager[Any]] = nullcontext,
) -> Conditioning:
    """Encode a reference image that has the clip's size already.

    image: (H,W,3) uint8
    image_encoder: a `CLIPVisionModelWithProjection`
    vae: an `AutoencoderKLTemporalDecoder`; the mode of its distribution is taken
    feature_mean, feature_std: of the image encoder's input, per channel in [0,1]
    micro_conditions: (frame rate, motion bucket, noise augmentation); the last one is also the
        standard deviation of the noise on the image, in [-1,1], that the VAE sees
    noise: (1,3,H,W) standard normal
    device: where both networks compute
    placed: brings a network there for as long as it is in use; they are used one after the other
    """
    pixels = _pixels(image, device)
    fps, motion_bucket, augmentation = micro_conditions
    noisy = pixels + augmentation * noise.to(device, torch.float32)
    with placed(image_encoder):
        embedding = embed_image(pixels, image_encoder, feature_mean, feature_std)
    with placed(vae):
        latents = encode_image(noisy, vae)
    return Conditioning(
        embedding=embedding,
        latents=latents,
        micro=torch.tensor([[fps, motion_bucket, augmentation]], device=device),
    )


@torch.no_grad()
def encode_frames(
    picture_of: FramePictures,
    frames: int,
    *,
    vae: Any,
    noise: Tensor,
    augmentation: float,
    device: torch.device | str = "cpu",
    on_frame: Callable[[], None] | None = None,
) -> Tensor:
    """Latents (F,C,h,w), float16 on the host, of the picture that each frame has for its reference.

    noise: (1,3,H,W) standard normal, the same for every frame; see `encode_reference`
    Frames are encoded one at a time, so their latents do not depend on the length of the clip.
    """
    latents = []
    for frame in range(frames):
        noisy = _pixels(picture_of(frame), device) + augmentation * noise.to(device, torch.float32)
        latents.append(encode_image(noisy, vae).to("cpu", torch.float16))
        if on_frame is not None:
            on_frame()
    return torch.cat(latents)


def _pixels(image: np.ndarray, device: torch.device | str) -> Tensor:
    """(1,3,H,W) in [-1,1] of a picture (H,W,3) uint8."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device)
    return pixels.permute(2, 0, 1)[None].float() / 127.5 - 1


def embed_image(
    pixels: Tensor, image_encoder: Any, mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    """Image embedding (1,1,D) of pixels (1,3,H,W) in [-1,1]."""
    size = image_encoder.config.image_size
    small = (resize_antialiased(pixels, (size, size)) + 1) / 2
    values = torch.tensor([list(mean), list(std)], device=pixels.device).view(2, 1, 3, 1, 1)
    dtype = next(image_encoder.parameters()).dtype
    return image_encoder(((small - values[0]) / values[1]).to(dtype)).image_embeds[:, None]


def encode_image(pixels: Tensor, vae: Any) -> Tensor:
    """Latents (1,C,h,w) of pixels (1,3,H,W) in [-1,1]: the distribution's mode, unscaled."""
    with upcast(vae):
        return vae.encode(pixels.to(vae.dtype)).latent_dist.mode()


@contextmanager
def upcast(vae: Any) -> Iterator[None]:
    """Run a float16 VAE in float32 where its configuration says that float16 overflows."""
    if vae.dtype != torch.float16 or not vae.config.force_upcast:
        yield
        return
    vae.to(dtype=torch.float32)
    try:
        yield
    finally:
        vae.to(dtype=torch.float16)


def resize_antialiased(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (B,C,H,W) to size (height, width): Gaussian blur, then bicubic on aligned corners.

    What Stable Video Diffusion's image encoder was given: the deviation is half of how much each
    side shrinks beyond one, the kernel four of them wide. Blurring stops at the picture's edge by
    reflection, so a side must be longer than half its kernel.
    """
    for dim, target in ((-2, size[0]), (-1, size[1])):
        sigma = max((pixels.shape[dim] / target - 1) / 2, 0.001)
        width = max(int(4 * sigma), 3) // 2 * 2 + 1
        pixels = _blur(pixels, dim, sigma, width)
    return F.interpolate(pixels, size=size, mode="bicubic", align_corners=True)


def _blur(pixels: Tensor, dim: int, sigma: float, width: int) -> Tensor:
    places = torch.arange(width, dtype=torch.float32, device=pixels.device) - width // 2
    kernel = torch.exp(-(places**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(pixels.dtype)
    half = width // 2
    channels = pixels.shape[1]
    vertical = dim == -2
    padding = (0, 0, half, half) if vertical else (half, half, 0, 0)
    kernel = kernel.view(1, 1, -1, 1) if vertical else kernel.view(1, 1, 1, -1)
    padded = F.pad(pixels, padding, mode="reflect")
    return F.conv2d(padded, kernel.expand(channels, -1, -1, -1), groups=channels)
