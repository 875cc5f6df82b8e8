"""Full-size UNets of every variant without memory, and the peak of one call of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from animate.models.components import build_network
from animate.models.identity_attention import IdentityAttentions, identity_attention
from animate.models.reference_attention import ReferenceBank, reference_read, reference_written
from animate.models.store import read_json
from animate.models.variants import ModelVariant, shipped_config
from scripts.benchmarks._tracking import build_fake, tracked_peak
from temporal.chunked import Chunks, chunked
from temporal.constant_attention import constant_cross_attention

HALF = torch.float16


def config_of(variant: ModelVariant) -> dict[str, Any]:
    """Sizes of the published UNet."""
    values = read_json(shipped_config("unet", variant.family))
    return {key: value for key, value in values.items() if not key.startswith("_")}


def context_tokens(variant: ModelVariant) -> int:
    """Tokens that the UNet attends to: the image's, and the face's."""
    return 1 if variant.face is None else 1 + variant.face.tokens


def tracked_work(
    variant: ModelVariant,
    *,
    size: tuple[int, int],
    frames: int,
    halves: int,
    chunks: Chunks | None,
) -> int:
    """Bytes at the widest moment of one call of the published UNet, weights left out.

    size: (width, height) of the latents
    halves: guidance halves in the call; of one half, the conditional one
    """
    config = config_of(variant)
    mode, unet = build_fake(lambda: build_network("unet", config, variant.family), HALF)
    with mode, torch.no_grad(), ExitStack() as stack:
        given = _INPUTS[variant.family](variant, config, size, frames, halves)
        beside = stack.enter_context(_CONTEXTS[variant.family](unet, variant, given, halves))
        if chunks is not None:
            stack.enter_context(chunked(unet, chunks, clamp=True))
        tracked = tracked_peak([unet], lambda: unet(**given), beside)
        weights = [*unet.parameters(), *beside]  # within, since processors bring some
    return tracked - sum(t.numel() * t.itemsize for t in weights)


def _svd_inputs(
    variant: ModelVariant, config: dict[str, Any], size: tuple[int, int], frames: int, halves: int
) -> dict[str, Any]:
    tokens = context_tokens(variant)
    shape = (halves, frames, config["in_channels"], size[1], size[0])
    return {
        "sample": torch.zeros(shape, dtype=HALF),
        "timestep": torch.tensor(1),
        "encoder_hidden_states": torch.zeros(halves, tokens, 1024, dtype=HALF),
        "added_time_ids": torch.zeros(halves, 3, dtype=HALF),
        "return_dict": False,
    }


@contextmanager
def _svd_context(
    unet: Any, variant: ModelVariant, given: dict[str, Any], halves: int
) -> Iterator[list[torch.Tensor]]:
    if variant.face is None:
        with constant_cross_attention(unet):
            yield []
        return
    before = torch.get_default_dtype()
    torch.set_default_dtype(HALF)  # tensors without memory cannot be brought to another type
    try:
        processors = IdentityAttentions(unet, variant.face.tokens)
    finally:
        torch.set_default_dtype(before)
    with identity_attention(unet, processors, 1.0):
        yield []


def _reference_inputs(
    variant: ModelVariant, config: dict[str, Any], size: tuple[int, int], frames: int, halves: int
) -> dict[str, Any]:
    width = config["cross_attention_dim"]
    return {
        "sample": torch.zeros(halves, config["in_channels"], frames, *size[::-1], dtype=HALF),
        "timestep": torch.tensor(1),
        "encoder_hidden_states": torch.zeros(halves * frames, 1, width, dtype=HALF),
        "return_dict": False,
    }


@contextmanager
def _reference_context(
    unet: Any, variant: ModelVariant, given: dict[str, Any], halves: int
) -> Iterator[list[torch.Tensor]]:
    """The features are as large as those of this UNet's own first frame."""
    bank = ReferenceBank()
    first = {
        **given,
        "sample": given["sample"][:1, :, :1],
        "encoder_hidden_states": given["encoder_hidden_states"][:1],
    }
    with reference_written(unet, bank):
        unet(**first)
    with reference_read(unet, bank), bank.shown([False, True][-halves:]):
        yield list(bank.features.values())


_INPUTS: dict[str, Any] = {"svd": _svd_inputs, "reference-net": _reference_inputs}
_CONTEXTS: dict[str, Any] = {"svd": _svd_context, "reference-net": _reference_context}
