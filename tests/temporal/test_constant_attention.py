from __future__ import annotations

from typing import Any

import pytest
import torch

from temporal.constant_attention import constant_cross_attention
from temporal.errors import TemporalError
from tests.temporal.networks import unet_inputs, worst


@pytest.mark.parametrize("batch", [1, 2, 3])
@torch.no_grad()
def test_equals_stock_attention_at_every_step(unet: Any, batch: int) -> None:
    inputs = unet_inputs(batch)
    with constant_cross_attention(unet):
        ours = [unet(**{**inputs, "timestep": torch.tensor(t)})[0] for t in (0.7, -0.3)]
    theirs = [unet(**{**inputs, "timestep": torch.tensor(t)})[0] for t in (0.7, -0.3)]
    assert max(worst(a, b) for a, b in zip(ours, theirs, strict=True)) < 1e-5
    assert worst(theirs[0], theirs[1]) > 1e-3  # the steps themselves differ


@torch.no_grad()
def test_context_matters_and_its_changes_are_noticed(unet: Any) -> None:
    inputs = unet_inputs()
    context = inputs["encoder_hidden_states"].clone()
    inputs["encoder_hidden_states"] = context
    with constant_cross_attention(unet):
        before = unet(**inputs)[0]
        context.mul_(-2)
        after = unet(**inputs)[0]
        other = unet(**{**inputs, "encoder_hidden_states": context.flip(0)})[0]
    assert worst(after, before) > 1e-3
    assert worst(after, unet(**inputs)[0]) < 1e-5
    swapped = unet(**{**inputs, "encoder_hidden_states": context.flip(0)})[0]
    assert worst(other, swapped) < 1e-5


@torch.no_grad()
def test_projections_run_once_per_clip(unet: Any) -> None:
    layer = unet.mid_block.attentions[0].temporal_transformer_blocks[0].attn2
    calls: list[str] = []
    hooks = [
        layer.to_v.register_forward_hook(lambda *_: calls.append("value")),
        layer.to_q.register_forward_hook(lambda *_: calls.append("query")),
    ]
    halves = [unet_inputs(1)["encoder_hidden_states"], torch.zeros(1, 1, 16)]
    with constant_cross_attention(unet):
        for _ in range(3):
            for half in halves:  # guidance halves in turn
                unet(**{**unet_inputs(1), "encoder_hidden_states": half})
    for hook in hooks:
        hook.remove()
    assert calls == ["value", "value"]


def test_inference_tensors_are_right_too(unet: Any) -> None:
    with torch.inference_mode():
        inputs = unet_inputs()
        context = torch.ones(2, 1, 16)
        inputs["encoder_hidden_states"] = context
        with constant_cross_attention(unet):
            unet(**inputs)
            context.mul_(3)
            ours = unet(**inputs)[0]
        assert worst(ours, unet(**inputs)[0]) < 1e-5


@torch.no_grad()
def test_positional_arguments_and_nesting(unet: Any) -> None:
    inputs = unet_inputs()
    names = ("sample", "timestep", "encoder_hidden_states", "added_time_ids", "return_dict")
    with constant_cross_attention(unet), constant_cross_attention(unet):
        ours = unet(*(inputs[name] for name in names))[0]
    assert worst(ours, unet(**inputs)[0]) < 1e-5


@torch.no_grad()
def test_network_is_restored_also_after_an_error(unet: Any) -> None:
    inputs = unet_inputs()
    before = unet(**inputs)[0]
    processors = dict(unet.attn_processors)
    wide = inputs["encoder_hidden_states"].expand(2, 3, 16)
    with pytest.raises(TemporalError, match="one token"), constant_cross_attention(unet):
        unet(**{**inputs, "encoder_hidden_states": wide})
    assert unet.attn_processors == processors
    assert not unet._forward_pre_hooks
    assert torch.equal(unet(**inputs)[0], before)


def test_unknown_processor_is_refused(unet: Any) -> None:
    layer = unet.mid_block.attentions[0].transformer_blocks[0].attn2
    plain = layer.processor
    layer.processor = lambda attn, hidden_states, **_: hidden_states
    try:
        with (
            pytest.raises(TemporalError, match=r"mid_block.*attn2.*plain"),
            constant_cross_attention(unet),
        ):
            pass
    finally:
        layer.processor = plain
