"""T2I-Adapter's way of control, for measurement beside ControlNeXt: features for every scale.

Mou et al., arXiv 2302.08453: a small convolutional network turns the control picture, brought to
the latents' size by moving pixels into channels, into one feature map for each block of the base's
encoder, where it is added. It does not see the noisy latents or the time, so it runs once a clip.
The base is frozen. Here the features are added to what a block hands on to the next one.

Shape letters: B clips, F frames, N = B*F rows, C channels, H x W pixels, h x w positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class Adapter(nn.Module):
    """One feature map for the output of each encoder block of `unet`."""

    def __init__(self, unet: Any, *, shrink: int = 8, layers: int = 2) -> None:
        """
        shrink: pixels of a side that one latent position stands for
        layers: residual blocks at each scale
        """
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(shrink)
        sizes = tuple(unet.config.block_out_channels)
        self.conv_in = nn.Conv2d(3 * shrink**2, sizes[0], 3, padding=1)
        self.scales = nn.ModuleList()
        for index, size in enumerate(sizes):
            previous = sizes[max(index - 1, 0)]
            blocks = [_Block(previous if first == 0 else size, size) for first in range(layers)]
            self.scales.append(nn.Sequential(*blocks))

    def forward(self, control_BF3HW: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Features (N,C,h,w) at the given (height, width) of each block's output."""
        x = self.conv_in(self.unshuffle(control_BF3HW.flatten(0, 1)))
        features = []
        for scale, size in zip(self.scales, sizes, strict=True):
            x = scale(F.adaptive_avg_pool2d(x, size))
            features.append(x)
        return features


class _Block(nn.Module):
    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        unchanged = channels == out_channels
        self.skip = nn.Identity() if unchanged else nn.Conv2d(channels, out_channels, 1)
        self.first = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.second = nn.Conv2d(out_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.skip(x)
        return x + self.second(F.relu(self.first(x)))


def block_sizes(unet: Any, latents: tuple[int, int]) -> list[tuple[int, int]]:
    """(height, width) of each encoder block's output for latents of that size."""
    height, width = latents
    sizes = []
    for block in unet.down_blocks:
        if block.downsamplers is not None:  # a convolution of stride 2 with padding
            height, width = (height + 1) // 2, (width + 1) // 2
        sizes.append((height, width))
    return sizes


class Features:
    """Maps that are added to the output of each encoder block; None leaves the base stock."""

    def __init__(self) -> None:
        self.maps: Sequence[Tensor] | None = None


@contextmanager
def add_features(unet: Any) -> Iterator[Features]:
    """Hooks that add features to a stock UNet for the length of the `with` block."""
    port = Features()
    with ExitStack() as stack:
        for index, block in enumerate(unet.down_blocks):
            stack.callback(block.register_forward_hook(_adding(port, index)).remove)
        try:
            yield port
        finally:
            port.maps = None


def _adding(port: Features, index: int) -> Callable[..., Any]:
    def hook(_block: nn.Module, _args: Any, output: tuple[Tensor, tuple[Tensor, ...]]) -> Any:
        sample, skips = output
        if port.maps is None:
            return output
        # The last skip tensor is the block's output, so decoder and next block see the same.
        changed = sample + port.maps[index]
        return changed, (*skips[:-1], changed)

    return hook
