"""The UNet predicts what its image latents lack: they are added to what it denoises to.

Where the image latents of a frame already show nearly what the frame has to show (the reference
warped to its pose), a network that need not copy them spends its size on the difference. Only the
output changes, so a stock UNet serves, whatever else is hooked to it.
"""

from __future__ import annotations

from typing import Any

from torch import nn


class AddedLatents:
    """Forward hook of a UNet: subtracts the image latents from its v-prediction.

    At high noise levels a v-prediction is the clean latents' negative, so that adds them to the
    clean latents; at lower ones a smaller share of them is added.
    """

    def __init__(self, factor: float) -> None:
        """factor: the autoencoder's scaling factor; image latents are unscaled"""
        self.factor = factor

    def __call__(
        self, unet: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        sample = args[0] if args else kwargs["sample"]
        if isinstance(output, tuple):
            return (self._added(output[0], sample), *output[1:])
        return type(output)(sample=self._added(output.sample, sample))

    def _added(self, prediction_BFCHW: Any, sample_BFCHW: Any) -> Any:
        image = sample_BFCHW[:, :, prediction_BFCHW.shape[2] :]
        return prediction_BFCHW - self.factor * image


def add_image_latents(unet: nn.Module, vae: Any) -> None:
    """Let a UNet's image latents be added to what it predicts, for good."""
    hook = AddedLatents(vae.config.scaling_factor)
    unet.register_forward_hook(hook, with_kwargs=True)


def begin_adding(unet: Any, vae: Any) -> None:
    """The same for a UNet that has learned without: its last convolution starts from zero, so that
    it predicts the image latents as they are."""
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(unet.conv_out.bias)
    add_image_latents(unet, vae)
