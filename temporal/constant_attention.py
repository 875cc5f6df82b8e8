"""Cross-attention over a single token is a constant: compute it once per clip.

The image condition of Stable Video Diffusion is one token. A softmax over one key is 1 whatever
the query, so every cross-attention layer returns out_proj(v_proj(context)) at every pixel of every
frame at every step. Here that vector is computed at a layer's first use and kept; queries, keys,
scores and the layer norm in front of them are not computed at all. Exact: only the order of
rounding differs.

Inside the network the context is replaced by the number of its batch element, which travels
through the stock code's repeating and broadcasting in its place (and is a thousand times
narrower); a layer then picks its constant by that number. Rows may therefore be cut into any
groups in between.

Legend: B batch, T tokens, D width of the context, C channels, R rows (B times frames or pixels).
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from torch import Tensor, nn

from temporal.errors import TemporalError
from temporal.wrapping import override_forward

_KEPT_CONTEXTS = 4  # the two guidance halves of two clips


class _Constants:
    """Constants by context; which context is current is decided at the network's entrance."""

    def __init__(self) -> None:
        self._kept: list[tuple[weakref.ref[Tensor], int, dict[Attention, Tensor]]] = []
        self._context: Tensor | None = None
        self._by_layer: dict[Attention, Tensor] = {}

    def enter(self, context_BTD: Tensor) -> Tensor:
        """Make a context current.

        Returns:
            (B,1,1) numbers of the batch elements, in the context's type and device.
        """
        if context_BTD.ndim != 3 or context_BTD.shape[1] != 1:
            raise TemporalError(
                "cross-attention is a constant only for a context of one token, shape (batch, 1, "
                f"width); this one has shape {tuple(context_BTD.shape)}. Run this network without "
                "constant_cross_attention"
            )
        self._context = context_BTD
        self._by_layer = self._constants_of(context_BTD)
        numbers = torch.arange(
            context_BTD.shape[0], device=context_BTD.device, dtype=context_BTD.dtype
        )
        return numbers[:, None, None]

    def _constants_of(self, context: Tensor) -> dict[Attention, Tensor]:
        if context.is_inference():
            return {}  # has no version counter, so a change in place would go unnoticed
        version = context._version
        self._kept = [entry for entry in self._kept if entry[0]() is not None]
        for reference, kept_version, by_layer in self._kept:
            if reference() is context and kept_version == version:
                return by_layer
        fresh: dict[Attention, Tensor] = {}
        self._kept = [*self._kept[1 - _KEPT_CONTEXTS :], (weakref.ref(context), version, fresh)]
        return fresh

    def of(self, layer: Attention) -> Tensor:
        """(B,1,C) output of a layer for the current context."""
        constant = self._by_layer.get(layer)
        if constant is None:
            assert self._context is not None, "a layer ran outside its network"
            value = layer.to_v(self._context)
            constant = layer.to_out[1](layer.to_out[0](value)) / layer.rescale_output_factor
            self._by_layer[layer] = constant
        return constant


class _ConstantProcessor:
    """Attention processor that returns the layer's constant, (R,1,C), for broadcasting."""

    def __init__(self, constants: _Constants) -> None:
        self.constants = constants

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        constant_B1C = self.constants.of(attn)
        if constant_B1C.shape[0] == 1 or encoder_hidden_states is None:
            return constant_B1C
        return constant_B1C.index_select(0, encoder_hidden_states.flatten().long())


def _layers(unet: nn.Module) -> Iterator[tuple[str, nn.Module, Attention]]:
    """Name, owning block and cross-attention layer of every transformer block."""
    for name, block in unet.named_modules():
        layer = getattr(block, "attn2", None)
        if isinstance(layer, Attention):
            yield f"{name}.attn2", block, layer


def _check(name: str, layer: Attention) -> None:
    plain = isinstance(layer.processor, AttnProcessor | AttnProcessor2_0)
    simple = layer.is_cross_attention and not layer.residual_connection and not layer.norm_cross
    if not (plain and simple):
        raise TemporalError(
            f"{name} is not the plain cross-attention of diffusers (its processor is "
            f"{type(layer.processor).__name__}); set the default attention processor first"
        )


def _unchanged(hidden_states: Tensor) -> Tensor:
    return hidden_states


@contextlib.contextmanager
def constant_cross_attention(unet: nn.Module) -> Iterator[None]:
    """Within it, a UNet's one-token cross-attention is computed once per context, not per step.

    The constants belong to the context *tensor*: pass the same tensor at every step (an in-place
    change is noticed, a new tensor is computed anew; under `torch.inference_mode` there is no way
    to notice a change, so they are computed at each call). For inference, with weights that stay
    as they are. Entering it again inside does nothing.

    Args:
        unet: a diffusers `UNetSpatioTemporalConditionModel`; restored at the end.

    Raises:
        TemporalError: a layer is not plain cross-attention, or (at a call) the context has more
            than one token.
    """
    layers = list(_layers(unet))
    if layers and all(isinstance(layer.processor, _ConstantProcessor) for _, _, layer in layers):
        yield
        return
    for name, _, layer in layers:
        _check(name, layer)
    constants = _Constants()

    def numbers_for_context(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if len(args) > 2:
            return (*args[:2], constants.enter(args[2]), *args[3:]), kwargs
        numbers = constants.enter(kwargs["encoder_hidden_states"])
        return args, {**kwargs, "encoder_hidden_states": numbers}

    with contextlib.ExitStack() as stack:
        hook = unet.register_forward_pre_hook(numbers_for_context, with_kwargs=True)
        stack.callback(hook.remove)
        for _, block, layer in layers:
            stack.callback(setattr, layer, "processor", layer.processor)
            layer.processor = _ConstantProcessor(constants)
            if isinstance(block.norm2, nn.LayerNorm):  # its output is for the cross-attention only
                override_forward(stack, block.norm2, _unchanged)
        yield
