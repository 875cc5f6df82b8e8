"""Add control features to a stock diffusers `UNetSpatioTemporalConditionModel`, by hooks.

The published code forks the UNet to add one tensor at one place. That place is the output of a
whole block (v2, "down": the first down block, after its skip tensors were taken) or the input of
one (v1, "mid": the middle block), so a forward hook is all of it. Hooks stand outside the block's
`forward`; what replaces that method (offloading) or re-runs parts of it (gradient checkpointing)
does not see them.

Shape letters: N = B*F rows of the UNet's flattened batch (B clips one after the other, F frames
each), C channels, h x w positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from animate.errors import InternalError, ModelError
from animate.models.config import Injection, Place

_MARK = "_control_port"
"""Attribute of a block that has a port, so that none is given two."""


def cross_normalise(control: Tensor, features: Tensor, eps: float = 1e-5) -> Tensor:
    """Give `control` (N,C,h',w') the statistics and the size of `features` (N,C,h,w).

    Published: `(c - mean_c) * (std_x / (std_c + eps)) + mean_x` for each row over channels and
    positions, with unbiased deviations, then average-pooled to (h,w). Pooling is linear and its
    weights add up to one, so it comes before the rest here, on a quarter of the numbers, with the
    same result; the statistics are those of the whole control. Computed in float32 or better: in
    float16 the quotient of a flat control would overflow. Returned with the features' dtype.
    """
    exact = torch.promote_types(features.dtype, torch.float32)
    std_x, mean_x = torch.std_mean(features.to(exact), dim=(1, 2, 3), keepdim=True)
    control = control.to(exact)
    std_c, mean_c = torch.std_mean(control, dim=(1, 2, 3), keepdim=True)
    height, width = features.shape[-2:]
    pooled = F.adaptive_avg_pool2d(control, (height, width))
    return ((pooled - mean_c) * (std_x / (std_c + eps)) + mean_x).to(features.dtype)


class ControlPort:
    """What the hook adds at the next calls of the UNet; made by `inject`.

    Set `control` before a call and leave it until the backward pass, if there is one, is done.
    """

    def __init__(self, weight: float | Tensor) -> None:
        self.weight = weight
        """Weight of the normalised control where `weights` does not say otherwise: a number, or a
        scalar tensor when it is learned."""
        self.control: Tensor | None = None
        """Features (N,C,h',w') for every row of the UNet's batch, or (F,C,h',w') for the frames of
        one clip, which all B clips of the batch then share; None leaves the UNet stock."""
        self.weights: Sequence[float | Tensor] | None = None
        """One weight for each of the B clips of the batch, e.g. `(0.0, port.weight)` for guidance
        in one call. Rows with the number 0 are left untouched. None: `weight` for all."""

    def add(self, features: Tensor) -> Tensor:
        """`features` (N,C,h,w) with the control added; the very same tensor when there is none."""
        if self.control is None:
            return features
        control = self.control.to(features.device)
        weights = self._weights(control, features)
        if all(_is_zero(weight) for weight in weights):
            return features
        rows = len(features) // len(weights)
        parts = []
        for clip, (part, weight) in enumerate(zip(features.split(rows), weights, strict=True)):
            own = control if len(control) == rows else control[clip * rows : (clip + 1) * rows]
            parts.append(part if _is_zero(weight) else part + cross_normalise(own, part) * weight)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _weights(self, control: Tensor, features: Tensor) -> tuple[float | Tensor, ...]:
        """One weight for each clip of the batch, once the shapes are known to fit."""
        rows, channels = features.shape[:2]
        if control.ndim != 4 or control.shape[1] != channels:
            raise InternalError(
                f"control features of shape {tuple(control.shape)} cannot be added to UNet "
                f"features of shape {tuple(features.shape)}: {channels} channels are needed"
            )
        weights = tuple(self.weights) if self.weights is not None else ()
        if not weights and rows % len(control) == 0:
            weights = (self.weight,) * (rows // len(control))
        if not weights or rows % len(weights) or len(control) not in (rows, rows // len(weights)):
            raise InternalError(
                f"{len(control)} rows of control with {len(weights) or 'no'} weights do not fit a "
                f"UNet batch of {rows} rows"
            )
        return weights


def _is_zero(weight: float | Tensor) -> bool:
    # A tensor may be learned: it is never compared, that would wait for the GPU.
    return isinstance(weight, int | float) and weight == 0


@contextmanager
def inject(unet: Any, place: Place = "down", weight: float | Tensor = 1.0) -> Iterator[ControlPort]:
    """Attach a `ControlPort` to `unet` for the length of the `with` block.

    `place` is "down" (onto what the first down block gives the next block; its skip tensors stay
    as they are) or "mid" (onto the middle block's input). Compile the UNet inside the block, and
    keep the block open for all clips that shall use what was compiled: compiled code does not see
    hooks come and go. Raises `ModelError` for another place, for a place that is in use, and for a
    UNet that is compiled already.
    """
    if hasattr(unet, "_orig_mod") or getattr(unet, "_compiled_call_impl", None) is not None:
        raise ModelError(
            "the UNet was compiled before control was injected, and compiled modules do not notice "
            "new hooks: call torch.compile inside the `with inject(...)` block that it serves"
        )
    port = ControlPort(weight)
    block, attach = _place(unet, place)
    if _MARK in block.__dict__:
        raise ModelError(f"control is injected at {place!r} of this UNet already")
    block.__dict__[_MARK] = port
    handle = attach(port)
    try:
        yield port
    finally:
        handle.remove()
        del block.__dict__[_MARK]
        port.control = port.weights = None


def _place(unet: Any, place: Place) -> tuple[Any, Callable[[ControlPort], Any]]:
    """The block to hook, and what hooks it."""
    if place == "down":
        block = unet.down_blocks[0]
        return block, lambda port: block.register_forward_hook(_after_down(port))
    if place == "mid":
        block = unet.mid_block
        return block, lambda port: block.register_forward_pre_hook(
            _before_mid(port), with_kwargs=True
        )
    raise ModelError(f"control can be injected at {' or '.join(get_args(Place))}, not at {place!r}")


def learned_weight(
    injection: Injection, controlnext: Any, weight: float | None = None
) -> float | Tensor:
    """The weight to inject with: `weight`, or else the variant's, through the variant's gate.

    A gated weight stays a scalar tensor, so training reaches the network's learned scale.
    """
    base = injection.weight if weight is None else weight
    if injection.gate == "none":
        return base
    return base * torch.sigmoid(controlnext.scale)


def unconditional_weight(injection: Injection, weight: float) -> float:
    """What the half without the picture gets of the control, when `weight` is not the variant's."""
    share = weight / injection.weight if injection.weight else 1.0
    return injection.unconditional * share


def _after_down(port: ControlPort) -> Any:
    def hook(block: nn.Module, args: Any, output: tuple[Tensor, Any]) -> tuple[Tensor, Any]:
        sample, skips = output
        return port.add(sample), skips

    return hook


def _before_mid(port: ControlPort) -> Any:
    def hook(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (port.add(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": port.add(kwargs["hidden_states"])}

    return hook
