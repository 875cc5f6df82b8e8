"""Ways of control that can be trained against each other on one base: what each adds and learns.

Shape letters: B clips, F frames, C latent channels, H x W pixels, h x w latent positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from animate.models.config import ControlNeXtConfig, Injection
from animate.models.controlnext import ControlNeXt
from animate.models.injection import inject
from scripts.paper.baselines.controlnet import EncoderCopy, add_residuals, zero_conv
from scripts.paper.baselines.t2i_adapter import Adapter, add_features, block_sizes
from scripts.paper.normalise import Formula, at_size_of, modulation, paper_normalise

Learned = Literal["none", "selective", "full"]
"""Part of the base that is trained: none; attention output projections (-S); all of it (-F)."""
SELECTIVE = "to_out"
"""Part of the names of what -S trains, from the published training code."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """One call of the UNet and its control frames."""

    sample: Tensor
    """(B,F,2C,h,w) scaled noisy latents beside the reference's."""
    timestep: Tensor
    """(B,)."""
    embedding: Tensor
    """(B,1,D)."""
    micro: Tensor
    """(B,3)."""
    control: Tensor
    """(B,F,3,H,W) in [0,1]."""


Condition = Callable[[Inputs], None]
"""Computes what the hooks will add at the UNet's next call."""


class SingleStage(nn.Module):
    """ControlNeXt: a small network, brought in at one point of the UNet by one of the formulas."""

    def __init__(self, config: ControlNeXtConfig, formula: Formula, weight: float) -> None:
        super().__init__()
        self.network = ControlNeXt(config)
        self.formula, self.weight = formula, weight
        if formula == "zero":
            self.zero = zero_conv(config.out_channels)
        if formula == "paper":
            self.gamma = nn.Parameter(torch.ones(()))
        if formula in ("film", "film-channel"):
            self.modulation = zero_conv(config.out_channels, 2 * config.out_channels)

    @contextmanager
    def attach(self, unet: Any) -> Iterator[Condition]:
        """Hooks on `unet` for the length of the `with` block."""
        if self.formula == "code":  # the product's own way
            with inject(unet, Injection(hook_point="down", weight=self.weight)) as port:
                yield lambda inputs: port.hold(self._features(inputs))
            return
        features: list[Tensor] = []

        def hook(_block: nn.Module, _args: Any, output: tuple[Tensor, Any]) -> Any:
            sample, skips = output
            return sample + self._added(features[0], sample), skips

        handle = unet.down_blocks[0].register_forward_hook(hook)
        try:
            yield lambda inputs: features.__setitem__(slice(None), [self._features(inputs)])
        finally:
            handle.remove()

    def _features(self, inputs: Inputs) -> Tensor:
        features: Tensor = self.network(inputs.control, inputs.timestep)
        return features

    def _added(self, control: Tensor, features: Tensor) -> Tensor:
        if self.formula == "paper":
            return self.weight * self.gamma * paper_normalise(control, features)
        pooled = at_size_of(control, features)
        if self.formula == "zero":
            added: Tensor = self.zero(pooled)
            return added
        if self.formula == "film-channel":
            pooled = pooled.mean((2, 3), keepdim=True)
        if self.formula in ("film", "film-channel"):
            return self.weight * modulation(self.modulation(pooled), features)
        return self.weight * pooled


class MultiStage(nn.Module):
    """ControlNet: a copy of the encoder, added at every skip tensor."""

    def __init__(self, unet: Any, condition_channels: tuple[int, ...]) -> None:
        super().__init__()
        self.network = EncoderCopy(unet, condition_channels)

    @contextmanager
    def attach(self, unet: Any) -> Iterator[Condition]:
        """Hooks on `unet` for the length of the `with` block."""
        with add_residuals(unet) as port:
            yield lambda inputs: port.set(
                self.network(
                    inputs.sample, inputs.timestep, inputs.embedding, inputs.micro, inputs.control
                )
            )


class AdapterStage(nn.Module):
    """T2I-Adapter: a network without time, added at every scale of the encoder."""

    def __init__(self, unet: Any, shrink: int) -> None:
        super().__init__()
        self.network = Adapter(unet, shrink=shrink)

    @contextmanager
    def attach(self, unet: Any) -> Iterator[Condition]:
        """Hooks on `unet` for the length of the `with` block."""
        with add_features(unet) as port:

            def condition(inputs: Inputs) -> None:
                height, width = inputs.sample.shape[-2:]
                port.maps = self.network(inputs.control, block_sizes(unet, (height, width)))

            yield condition


class NoControl(nn.Module):
    """The base alone, whatever the control frames."""

    @contextmanager
    def attach(self, unet: Any) -> Iterator[Condition]:
        """Nothing is attached."""
        yield lambda inputs: None


Method = SingleStage | MultiStage | AdapterStage | NoControl


def copied(method: nn.Module) -> list[nn.Parameter]:
    """Parameters that came from the base with its weights."""
    if not isinstance(method, MultiStage):
        return []
    parts = ("conv_in", "time_embedding", "add_embedding", "down_blocks", "mid_block")
    return [p for part in parts for p in getattr(method.network, part).parameters()]


def trained_of_base(unet: nn.Module, learned: Learned) -> list[nn.Parameter]:
    """The base's parameters that are trained."""
    if learned == "none":
        return []
    return [
        parameter
        for name, parameter in unet.named_parameters()
        if learned == "full" or SELECTIVE in name
    ]
