"""Convolutions over time alone, as convolutions of an image whose rows are frames.

A (3,1,1) kernel sees a (frames, pixels) picture column by column: the same sums, but through the
two-dimensional kernels that every device has tuned, and through their channels-last layout.
"""

from __future__ import annotations

from torch import Tensor, nn


def is_over_time(module: nn.Module) -> bool:
    """A plain three-dimensional convolution whose kernel is one pixel wide and high."""
    return (
        type(module) is nn.Conv3d
        and module.kernel_size[1:] == (1, 1)
        and module.stride[1:] == (1, 1)
        and module.padding[1:] == (0, 0)
        and module.padding_mode == "zeros"
        and module.weight.is_floating_point()  # 8-bit kernels have a forward of their own
    )


def convolve_over_time(conv: nn.Conv3d, clip_BCFP: Tensor, weight: Tensor | None = None) -> Tensor:
    """Convolve (B,C,F,P) over its frames.

    Args:
        conv: a convolution for which `is_over_time` holds.
        clip_BCFP: batch, channels, frames, pixels.
        weight: used in place of the convolution's own, same shape.

    Returns:
        (B,C',F',P)
    """
    kernel = conv.weight if weight is None else weight
    return nn.functional.conv2d(
        clip_BCFP,
        kernel[..., 0],
        conv.bias,
        stride=(conv.stride[0], 1),
        padding=(int(conv.padding[0]), 0),
        dilation=(conv.dilation[0], 1),
        groups=conv.groups,
    )


def run_over_time(conv: nn.Module, clip_BCFP: Tensor) -> Tensor:
    """Convolve (B,C,F,P) over its frames, whatever else has been done to the convolution.

    A convolution that another wrapper has taken over (an adapter, 8-bit weights, hooks) is called
    as a module, so that the wrapper has its say.
    """
    touched = "forward" in vars(conv) or conv._forward_hooks or conv._forward_pre_hooks
    if isinstance(conv, nn.Conv3d) and is_over_time(conv) and not touched:
        return convolve_over_time(conv, clip_BCFP)
    result: Tensor = conv(clip_BCFP.unsqueeze(-1))
    return result.squeeze(-1)
