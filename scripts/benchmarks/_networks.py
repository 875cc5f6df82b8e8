"""Full-size networks with random weights, made quickly; shared by the benchmarks."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# Stable Video Diffusion's autoencoder; the UNet's class defaults are SVD's own.
VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
}


def make_unet() -> Any:
    """SVD's UNet, weights not set."""
    from diffusers import UNetSpatioTemporalConditionModel

    return UNetSpatioTemporalConditionModel()


def make_vae() -> Any:
    """SVD's autoencoder, weights not set."""
    from diffusers import AutoencoderKLTemporalDecoder

    return AutoencoderKLTemporalDecoder(**VAE)


def filled(make: Any, dtype: torch.dtype = torch.float32) -> Any:
    """A network on the CPU with random weights of a sensible size, from one repeated block."""
    gc.collect()
    with torch.device("meta"):
        network = make().to(dtype)
    network = network.to_empty(device="cpu").eval().requires_grad_(False)
    block = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0)).to(dtype)
    for name, weight in network.named_parameters():
        _fill(name, weight.data, block)
    return network


def _fill(name: str, weight: Tensor, block: Tensor) -> None:
    flat = weight.view(-1)
    scale = weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.02
    for start in range(0, len(flat), len(block)):
        part = flat[start : start + len(block)]
        part.copy_(block[: len(part)]).mul_(scale)
    if weight.ndim == 1 and "norm" in name and name.endswith("weight"):
        weight.add_(1)


@dataclass(frozen=True, kw_only=True)
class GuidedInputs:
    """Tensors of one call of a video UNet; B halves of guidance."""

    sample: Tensor
    """(B,F,8,h,w)."""
    timestep: Tensor
    """()."""
    embedding: Tensor
    """(B,1,1024)."""
    added_time_ids: Tensor
    """(B,3)."""

    def predict(self, unet: Any) -> Tensor:
        """The UNet's prediction (B,F,4,h,w)."""
        result: Tensor = unet(
            self.sample,
            self.timestep,
            encoder_hidden_states=self.embedding,
            added_time_ids=self.added_time_ids,
            return_dict=False,
        )[0]
        return result


def guided_inputs(
    *, frames: int, size: tuple[int, int], dtype: torch.dtype, halves: int = 2
) -> GuidedInputs:
    """Random tensors; size is (width, height) of the picture, 8 times the latent's."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    return GuidedInputs(
        sample=draw(halves, frames, 8, size[1] // 8, size[0] // 8),
        timestep=torch.tensor(0.5),
        embedding=draw(halves, 1, 1024),
        added_time_ids=torch.tensor([[6.0, 127.0, 0.02]], dtype=dtype).repeat(halves, 1),
    )


def weight_size(*networks: nn.Module) -> int:
    """Bytes of weights."""
    return sum(w.numel() * w.itemsize for network in networks for w in network.parameters())
