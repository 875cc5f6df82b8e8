"""An autoencoder whose encoder is known in closed form and whose decoder is trained.

The encoder is a principal component analysis of 4x4 patches, partly whitened, scaled to unit
variance. It is written into the weights of a stock `AutoencoderKLTemporalDecoder`, so that the
bundled model has no class of its own. Training both halves together from nothing takes far longer.

Shapes: N images of H x W pixels in [-1,1], L latent channels, P = 48 values of a patch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from animate.errors import TrainingError
from animate.models.components import regroup

PATCH = 4
CHANNELS_PER_GROUP = 8

# Constants of the pass-through normalisation, see `_write_output`.
_ANCHOR = 100.0


def make_autoencoder(latents: int, blocks: tuple[int, int, int], layers: int = 1) -> Any:
    """A stock autoencoder that shrinks 4 times, with 8 channels to a normalisation group."""
    from diffusers import AutoencoderKLTemporalDecoder

    vae: Any = AutoencoderKLTemporalDecoder(
        down_block_types=("DownEncoderBlock2D",) * len(blocks),
        block_out_channels=blocks,
        layers_per_block=layers,
        latent_channels=latents,
        sample_size=96,
        scaling_factor=1.0,
        force_upcast=False,
    )
    regroup(vae, CHANNELS_PER_GROUP)
    return vae


@dataclass(frozen=True, kw_only=True)
class PatchBasis:
    """The closed-form encoder: `latent = (patch - mean) @ components * gain`."""

    components: Tensor
    """(P,L) orthonormal directions of a patch, the strongest first; P runs as (channel, y, x)."""
    mean: Tensor
    """(P,)."""
    gain: Tensor
    """(L,) partial whitening: a latent's deviation is its component's to the power of a half,
    scaled so that all of them together have the variance 1."""

    def to(self, device: torch.device) -> PatchBasis:
        """The same on a device."""
        return PatchBasis(
            components=self.components.to(device),
            mean=self.mean.to(device),
            gain=self.gain.to(device),
        )

    def pixel_weights(self, power: float) -> Tensor:
        """(L,1,1) what a squared error of each latent does to pixels, to a power, with the mean 1.

        Whitening makes the latents alike in size though the first ones are most of a picture.
        """
        weights = self.gain ** (-2 * power)
        return (weights / weights.mean()).view(-1, 1, 1)

    def encode(self, images: Tensor) -> Tensor:
        """Latents (N,L,H/4,W/4)."""
        latents = self.components.shape[1]
        scaled = self.components * self.gain
        kernel = scaled.T.reshape(latents, 3, PATCH, PATCH)
        return F.conv2d(images, kernel, -(self.mean @ scaled), stride=PATCH)


def fit_basis(images: Tensor, latents: int) -> PatchBasis:
    """The basis of images (N,3,H,W) in [-1,1]."""
    patches = F.unfold(images.double(), PATCH, stride=PATCH).transpose(1, 2).flatten(0, 1)
    mean = patches.mean(0)
    centred = patches - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    components = vectors.flip(1)[:, :latents]
    gain = values.flip(0)[:latents].clamp_min(1e-12) ** -0.25
    gain = gain / (centred @ components * gain).std()
    return PatchBasis(components=components.float(), mean=mean.float(), gain=gain.float())


@torch.no_grad()
def write_encoder(vae: Any, basis: PatchBasis) -> None:
    """Make the stock encoder compute `basis.encode` (to rounding) as its distribution's mode.

    Raises `TrainingError` when the encoder is not the kind of `make_autoencoder`.
    """
    encoder = vae.encoder
    latents = basis.components.shape[1]
    channels = encoder.conv_norm_out.num_channels
    if len(encoder.down_blocks) != 3 or 4 * latents > channels:
        raise TrainingError(f"{latents} latents do not fit an encoder of {channels} channels")
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            _clear(resnet.conv2)  # leaves the shortcut alone
    for resnet in encoder.mid_block.resnets:
        _clear(resnet.conv2)
    for attention in encoder.mid_block.attentions:
        _clear(attention.to_out[0])
    _clear(encoder.conv_in)
    for colour in range(3):
        encoder.conv_in.weight[colour, colour, 1, 1] = 1
    _write_patches(encoder, basis)
    _write_output(encoder, vae.quant_conv, latents)


def read_basis(vae: Any) -> PatchBasis:
    """The basis that `write_encoder` wrote, read from the encoder's weights.

    Raises `TrainingError` when the encoder is not of that kind.
    """
    encoder = vae.encoder
    if len(encoder.down_blocks) != 3 or vae.config.in_channels != 3:
        raise TrainingError("the autoencoder's encoder is no patch basis; train it by a recipe")
    latents = vae.config.latent_channels
    gather = encoder.down_blocks[1].downsamplers[0].conv
    kernel = torch.zeros(latents, 3, PATCH, PATCH)
    for colour in range(3):
        for y in range(2):
            for x in range(2):
                channel = 4 * colour + 2 * y + x
                kernel[:, colour, y::2, x::2] = gather.weight.detach()[:latents, channel, :2, :2]
    scaled = kernel.flatten(1).T
    gain = scaled.norm(dim=0)
    components = scaled / gain
    mean = components @ (-gather.bias.detach()[:latents] / gain)
    return PatchBasis(components=components, mean=mean, gain=gain)


def _clear(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        parameter.zero_()


def _write_patches(encoder: Any, basis: PatchBasis) -> None:
    """Two strided convolutions gather a 4x4 patch: first 2x2 pixels side by side, then 2x2 of
    those, weighted by the components."""
    latents = basis.components.shape[1]
    first = encoder.down_blocks[0].downsamplers[0].conv
    second = encoder.down_blocks[1].downsamplers[0].conv
    _clear(first)
    _clear(second)
    scaled = basis.components * basis.gain
    kernel = scaled.T.reshape(latents, 3, PATCH, PATCH)
    for colour in range(3):
        for y in range(2):
            for x in range(2):
                channel = 4 * colour + 2 * y + x
                first.weight[channel, colour, y, x] = 1
                second.weight[:latents, channel, :2, :2] = kernel[:, colour, y::2, x::2]
    second.bias[:latents] = -(basis.mean @ scaled)
    for block in encoder.down_blocks[:2]:
        for resnet in block.resnets:
            if resnet.conv_shortcut is not None:
                _pass_through(resnet.conv_shortcut)


def _pass_through(conv: Any) -> None:
    _clear(conv)
    for channel in range(min(conv.weight.shape[:2])):
        conv.weight[channel, channel, 0, 0] = 1


def _write_output(encoder: Any, quant_conv: Any, latents: int) -> None:
    """Carry latents through the last normalisation and SiLU unchanged.

    Two latents a and b share a group of eight channels (a, -a, b, -b, C, -C, C, -C): its mean is 0
    and, C being large, its deviation C / sqrt(2) whatever the latents; the normalisation's weight
    multiplies that away, and silu(a) - silu(-a) = a.
    """
    last = encoder.down_blocks[2]
    spread = last.resnets[0].conv_shortcut
    if spread is None:
        raise TrainingError("the encoder's last block must be wider than the one before it")
    _clear(spread)
    norm = encoder.conv_norm_out
    norm.weight.fill_(_ANCHOR / 2**0.5)
    norm.bias.zero_()
    _clear(encoder.conv_out)
    _clear(quant_conv)
    for latent in range(latents):
        plus = 8 * (latent // 2) + 2 * (latent % 2)
        spread.weight[plus, latent] = 1
        spread.weight[plus + 1, latent] = -1
        encoder.conv_out.weight[latent, plus, 1, 1] = 1
        encoder.conv_out.weight[latent, plus + 1, 1, 1] = -1
        quant_conv.weight[latent, latent, 0, 0] = 1
    for channel in range(norm.num_channels):
        if channel % 8 >= 4:
            spread.bias[channel] = _ANCHOR if channel % 2 == 0 else -_ANCHOR
    # The distribution is a point: its logarithmic variance is as low as the class lets it be.
    quant_conv.bias[latents:] = -30


def decoder_loss(
    vae: Any, images_BF3HW: Tensor, basis: PatchBasis, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """(loss, mean squared error) of clips decoded from noisy latents; `noise` (B*F,L,h,w)."""
    frames = images_BF3HW.shape[1]
    flat = images_BF3HW.flatten(0, 1)
    latents = basis.encode(flat) + noise
    decoded = vae.decode(latents, num_frames=frames).sample.float()
    return picture_loss(decoded - flat)


def picture_loss(difference_N3HW: Tensor) -> tuple[Tensor, Tensor]:
    """(loss, mean squared error) of decoded pictures; errors of slopes keep edges sharp."""
    squared = difference_N3HW.pow(2).mean()
    across = (difference_N3HW[..., 1:] - difference_N3HW[..., :-1]).abs().mean()
    down = (difference_N3HW[..., 1:, :] - difference_N3HW[..., :-1, :]).abs().mean()
    loss = squared + 0.15 * (across + down) + 0.05 * difference_N3HW.abs().mean()
    return loss, squared.detach()
