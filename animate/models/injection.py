"""Add control features to a stock diffusers UNet, by hooks.

The published code forks the UNet to add one tensor at one point. That point is the output of a
whole block (v2, "down": the first down block, after its skip tensors were taken) or the input of
one (v1, "mid-input": the middle block), so a forward hook is all of it. Hooks stand outside the
block's `forward`; what replaces that method (offloading) or re-runs parts of it (gradient
checkpointing) does not see them.

Shape letters: N = B*F rows of the UNet's flattened batch (B clips one after the other, F frames
each), C channels, h x w positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from animate.errors import InternalError, ModelError
from animate.models.config import HookPoint, Injection, Pool

_MARK = "_control_ports"
"""Attribute of a UNet: hook points that have a port, so that none gets two."""


def cross_normalise(
    control: Tensor, features: Tensor, eps: float = 1e-5, pool: Pool = "after"
) -> Tensor:
    """Give `control` (N,C,h',w') the statistics and the size of `features` (N,C,h,w).

    Published: `(c - mean_c) * (std_x / (std_c + eps)) + mean_x` for each row over channels and
    positions, with unbiased deviations, then average-pooled to (h,w). Pooling is linear and its
    weights add up to one, so it comes before the arithmetic here, on a quarter of the numbers, with
    the same result; the statistics are those of the control as it comes. With `pool` "before" they
    are those of the pooled control; with "none" the sizes are the same already. Computed in float32
    or better: in float16 the quotient of a flat control would overflow. Returned with the features'
    dtype.
    """
    exact = torch.promote_types(features.dtype, torch.float32)
    std_x, mean_x = torch.std_mean(features.to(exact), dim=(1, 2, 3), keepdim=True)
    control = control.to(exact)
    if pool == "before":
        control = _pooled(control, features)
    std_c, mean_c = torch.std_mean(control, dim=(1, 2, 3), keepdim=True)
    if pool == "after":
        control = _pooled(control, features)
    return ((control - mean_c) * (std_x / (std_c + eps)) + mean_x).to(features.dtype)


def _pooled(control: Tensor, features: Tensor) -> Tensor:
    height, width = features.shape[-2:]
    return F.adaptive_avg_pool2d(control, (height, width))


class ControlPort:
    """Adds control at the next calls of the UNet; made by `inject`.

    Call the UNet within `holding`. For a backward pass, which may call blocks again, `hold` control
    until that is done.
    """

    def __init__(self, injection: Injection, weight: float | Tensor) -> None:
        self.injection = injection
        self.weight = weight
        """Weight of the control where `weights` does not say otherwise: a number, or a scalar
        tensor when it is learned."""
        self.control: Tensor | None = None
        """Features (N,C,h',w') for every row of the UNet's batch, or (F,C,h',w') for the frames of
        one clip, which all B clips of the batch then share; None leaves the UNet stock."""
        self.weights: Sequence[float | Tensor] | None = None
        """One weight for each of the B clips of the batch, e.g. `(0.0, port.weight)` for guidance
        in one call. Rows with the number 0 are left untouched. None: `weight` for all."""

    def hold(self, control: Tensor | None, weights: Sequence[float | Tensor] | None = None) -> None:
        """Add this control, with these weights, until other control is given."""
        self.control, self.weights = control, weights

    @contextmanager
    def holding(
        self, control: Tensor | None, weights: Sequence[float | Tensor] | None = None
    ) -> Iterator[None]:
        """Add this control, with these weights, within the `with` block."""
        self.hold(control, weights)
        try:
            yield
        finally:
            self.hold(None)

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
            shared = len(control) == rows
            added = control if shared else control[clip * rows : (clip + 1) * rows]
            parts.append(part if _is_zero(weight) else part + self._fitted(added, part) * weight)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _fitted(self, control: Tensor, features: Tensor) -> Tensor:
        """Control (N,C,h',w') in the size, and where it is normalised the statistics, of features
        (N,C,h,w)."""
        injection = self.injection
        if injection.normalise:
            return cross_normalise(control, features, injection.epsilon, injection.pool)
        fitted = control if injection.pool == "none" else _pooled(control, features)
        return fitted.to(features.dtype)

    def _weights(self, control: Tensor, features: Tensor) -> tuple[float | Tensor, ...]:
        """One weight for each clip of the batch, once the shapes are known to fit."""
        rows, channels = features.shape[:2]
        resized = self.injection.pool != "none" or control.shape[-2:] == features.shape[-2:]
        if control.ndim != 4 or control.shape[1] != channels or not resized:
            raise InternalError(
                f"control features of shape {tuple(control.shape)} cannot be added to UNet "
                f"features of shape {tuple(features.shape)}: {channels} channels"
                f"{'' if resized else ' and the same size'} are needed"
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
def inject(
    unet: Any, injection: Injection, weight: float | Tensor | None = None
) -> Iterator[ControlPort]:
    """Attach a `ControlPort` to `unet` for the length of the `with` block.

    `weight` counts in place of the injection's. Compile the UNet inside the block, and keep the
    block open for all clips that shall use what was compiled: compiled code does not see hooks come
    and go. Raises `ModelError` for a hook point that is in use, and for a UNet that is compiled
    already.
    """
    if hasattr(unet, "_orig_mod") or getattr(unet, "_compiled_call_impl", None) is not None:
        raise ModelError(
            "the UNet was compiled before control was injected, and compiled modules do not notice "
            "new hooks: call torch.compile inside the `with inject(...)` block that it serves"
        )
    port = ControlPort(injection, injection.weight if weight is None else weight)
    used: set[HookPoint] = unet.__dict__.setdefault(_MARK, set())
    if injection.hook_point in used:
        raise ModelError(f"control is injected at {injection.hook_point!r} of this UNet already")
    used.add(injection.hook_point)
    handle = _HOOKS[injection.hook_point](unet)(port)
    try:
        yield port
    finally:
        handle.remove()
        used.discard(injection.hook_point)
        port.hold(None)


def learned_weight(
    injection: Injection, controlnext: Any, weight: float | None = None
) -> float | Tensor:
    """The weight to inject with: `weight`, or else the variant's, through the variant's gate.

    A gated weight stays a scalar tensor, so training reaches the network's learned scale.
    """
    base = injection.weight if weight is None else weight
    if injection.gate == "none":
        return base
    scale: Tensor = controlnext.scale
    return base * (torch.sigmoid(scale) if injection.gate == "sigmoid" else scale)


def unconditional_weight(
    injection: Injection, controlnext: Any, weight: float | None = None
) -> float | Tensor:
    """The weight on the unconditional half, where the conditional one has `weight` or the
    variant's."""
    if injection.halves == "conditional":
        return 0.0
    if injection.unconditional is None:
        return learned_weight(injection, controlnext, weight)
    share = weight / injection.weight if weight is not None and injection.weight else 1.0
    return injection.unconditional * share


_Attach = Callable[[ControlPort], Any]


def _on_output(block: Any) -> _Attach:
    """Hook a block that returns features."""

    def attach(port: ControlPort) -> Any:
        return block.register_forward_hook(lambda module, args, output: port.add(output))

    return attach


def _on_first_output(block: Any) -> _Attach:
    """Hook a block that returns features and skip tensors."""

    def attach(port: ControlPort) -> Any:
        def hook(module: nn.Module, args: Any, output: tuple[Tensor, Any]) -> tuple[Tensor, Any]:
            sample, skips = output
            return port.add(sample), skips

        return block.register_forward_hook(hook)

    return attach


def _on_input(block: Any) -> _Attach:
    """Hook a block that takes `hidden_states`, by name or as its first argument."""

    def attach(port: ControlPort) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return (port.add(args[0]), *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": port.add(kwargs["hidden_states"])}

        return block.register_forward_pre_hook(hook, with_kwargs=True)

    return attach


_HOOKS: dict[HookPoint, Callable[[Any], _Attach]] = {
    "stem": lambda unet: _on_output(unet.conv_in),
    "stem-after": lambda unet: _on_input(unet.down_blocks[0]),
    "down": lambda unet: _on_first_output(unet.down_blocks[0]),
    "mid-input": lambda unet: _on_input(unet.mid_block),
    "mid-output": lambda unet: _on_output(unet.mid_block),
}
"""The function that hooks a port to a UNet, for each hook point."""
