"""Control features in a stock UNet: where they go in, how strongly, and that they come off."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from animate.errors import InternalError, ModelError
from animate.models.config import Injection
from animate.models.injection import (
    cross_normalise,
    inject,
    learned_weight,
    unconditional_weight,
)
from animate.request.schema import build
from tests.toy import toy_networks

FRAMES = 3
STEP = torch.tensor(0.4)


@pytest.fixture(scope="module")
def networks() -> dict:
    return {name: network.eval() for name, network in toy_networks().items()}


def call(unet, clips: int = 2, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return unet(
        torch.randn(clips, FRAMES, 16, 16, 16, generator=draw),
        STEP,
        encoder_hidden_states=torch.randn(clips, 1, 16, generator=draw),
        added_time_ids=torch.ones(clips, 3),
        return_dict=False,
    )[0]


def control(clips: int = 2, channels: int = 32, seed: int = 1) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(clips * FRAMES, channels, 9, 7, generator=draw)


def test_cross_normalise_gives_the_statistics_of_the_features():
    features = torch.randn(4, 6, 8, 8) * 3 + 2
    control = torch.rand(4, 6, 8, 8)
    made = cross_normalise(control, features)
    for row in range(4):
        torch.testing.assert_close(made[row].mean(), features[row].mean(), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(made[row].std(), features[row].std(), rtol=1e-3, atol=1e-4)
    by_hand = (control[0] - control[0].mean()) * (features[0].std() / (control[0].std() + 1e-5))
    torch.testing.assert_close(made[0], by_hand + features[0].mean(), rtol=1e-4, atol=1e-5)


def test_cross_normalise_takes_the_statistics_before_it_pools():
    features, control = torch.randn(2, 4, 5, 3), torch.randn(2, 4, 11, 7)
    whole = cross_normalise(
        control, torch.randn(1, 4, 1, 1).expand(2, 4, 11, 7) * 0 + features.mean()
    )
    assert whole.shape == (2, 4, 11, 7)
    pooled = torch.nn.functional.adaptive_avg_pool2d
    std, mean = torch.std_mean(features, dim=(1, 2, 3), keepdim=True)
    own_std, own_mean = torch.std_mean(control, dim=(1, 2, 3), keepdim=True)
    wanted = pooled((control - own_mean) * (std / (own_std + 1e-5)) + mean, (5, 3))
    torch.testing.assert_close(cross_normalise(control, features), wanted)


def test_a_flat_control_in_half_precision_stays_finite():
    features = (torch.randn(1, 4, 4, 4) * 10).half()
    made = cross_normalise(torch.zeros(1, 4, 4, 4).half(), features)
    assert made.dtype == torch.float16
    assert torch.isfinite(made).all()


@pytest.mark.parametrize("place", ["down", "mid"])
@torch.no_grad()
def test_without_control_and_after_the_block_the_unet_is_stock(networks, place):
    unet = networks["unet"]
    stock = call(unet)
    with inject(unet, place, 1.0) as port:
        assert torch.equal(call(unet), stock)
        port.control = control()
        assert not torch.allclose(call(unet), stock, atol=1e-3)
        port.control = None
        assert torch.equal(call(unet), stock)
        port.control = control()
    assert port.control is None
    assert torch.equal(call(unet), stock)
    assert not unet.down_blocks[0]._forward_hooks
    assert not unet.mid_block._forward_pre_hooks


def test_hooks_come_off_after_an_error(networks):
    with pytest.raises(RuntimeError, match="stop"), inject(networks["unet"], "mid"):
        raise RuntimeError("stop")
    assert not networks["unet"].mid_block._forward_pre_hooks


@torch.no_grad()
def test_down_leaves_the_skip_tensors_alone(networks):
    unet, seen = networks["unet"], {}
    with inject(unet, "down", 0.5) as port:
        port.control = control()
        watch = unet.down_blocks[0].register_forward_hook(
            lambda block, args, output: seen.update(sample=output[0], skip=output[1][-1])
        )
        call(unet)
        watch.remove()
    added = seen["sample"] - seen["skip"]
    wanted = 0.5 * cross_normalise(control(), seen["skip"])
    torch.testing.assert_close(added, wanted, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_each_clip_of_the_batch_can_have_its_own_weight(networks):
    unet = networks["unet"]
    stock = call(unet)
    with inject(unet, "down", 0.7) as port:
        port.control = control()
        everywhere = call(unet)
        port.weights = (0.0, port.weight)
        guided = call(unet)
        port.weights = (0.2, 0.7)
        both = call(unet)
        port.control, port.weights = control()[FRAMES:], (0.0, 0.7)
        shared = call(unet)
    assert torch.equal(guided[0], stock[0])
    torch.testing.assert_close(guided[1], everywhere[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both[1], everywhere[1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(both[0], everywhere[0], atol=1e-4)
    assert not torch.allclose(both[0], stock[0], atol=1e-4)
    torch.testing.assert_close(shared, guided)


@torch.no_grad()
def test_rows_of_one_clip_serve_every_clip(networks):
    unet = networks["unet"]
    with inject(unet, "down", 0.7) as port:
        port.control = control(clips=1)
        shared = call(unet)
        port.control = torch.cat([control(clips=1)] * 2)
        torch.testing.assert_close(shared, call(unet))


@pytest.mark.parametrize(
    ("features", "weights"),
    [
        (control(channels=31), None),
        (control()[:4], None),
        (control(), (1.0,) * 4),
        (control(3), None),
    ],
)
@torch.no_grad()
def test_control_that_does_not_fit_is_refused(networks, features, weights):
    with inject(networks["unet"], "down") as port:
        port.control, port.weights = features, weights
        with pytest.raises(InternalError, match="control"):
            call(networks["unet"])


def test_an_unknown_place_is_refused(networks):
    with (
        pytest.raises(ModelError, match="down or mid, not at 'up'"),
        inject(networks["unet"], "up"),  # type: ignore[arg-type]
    ):
        pass


def test_learned_weight_passes_through_the_gate():
    networks = toy_networks(learned_scale=True)
    controlnext = networks["controlnext"]
    plain = build(Injection, {"place": "mid", "weight": 1.3}, "x")
    gated = build(Injection, {"place": "mid", "weight": 1.3, "gate": "sigmoid"}, "x")
    assert learned_weight(plain, controlnext) == 1.3
    assert learned_weight(plain, controlnext, 0.5) == 0.5
    weight = learned_weight(gated, controlnext)
    assert float(weight.detach()) == pytest.approx(1.3 * 0.7310586)
    weight.backward()
    assert controlnext.scale.grad is not None


def test_gradient_checkpointing_sees_the_same_control():
    networks = toy_networks()
    unet, controlnext = networks["unet"].train(), networks["controlnext"]

    def gradient(checkpointing: bool) -> Tensor:
        (
            unet.enable_gradient_checkpointing
            if checkpointing
            else unet.disable_gradient_checkpointing
        )()
        frames = torch.rand(1, FRAMES, 3, 64, 64, generator=torch.Generator().manual_seed(2))
        with inject(unet, "down", 1.0) as port:
            port.control = controlnext(frames, STEP)
            call(unet, clips=1).square().mean().backward()
        grad = controlnext.mid_convs[1].weight.grad.clone()
        controlnext.zero_grad()
        return grad

    plain = gradient(False)
    assert plain.abs().max() > 0
    torch.testing.assert_close(gradient(True), plain, rtol=1e-4, atol=1e-7)


@torch.no_grad()
def test_offloading_wrappers_do_not_lose_the_control():
    from accelerate.hooks import CpuOffload, add_hook_to_module, remove_hook_from_module

    unet = toy_networks()["unet"].eval()
    with inject(unet, "down", 1.0) as port:
        port.control = control()
        wanted = call(unet)
        for module in (unet, unet.down_blocks[0]):
            add_hook_to_module(module, CpuOffload(execution_device="cpu"), append=True)
        assert torch.equal(call(unet), wanted)
    remove_hook_from_module(unet, recurse=True)


@pytest.mark.slow
@torch.no_grad()
def test_a_unet_compiled_inside_follows_the_control():
    unet = toy_networks()["unet"].eval()
    stock = call(unet)
    with inject(unet, "down", 1.0) as port:
        compiled = torch.compile(unet, backend="eager")
        for features in (control(), None, control(seed=5)):
            port.control = features
            torch.testing.assert_close(call(compiled), call(unet))
        assert not torch.allclose(call(compiled), stock, atol=1e-3)
    torch.compiler.reset()


def test_a_unet_compiled_before_is_refused_because_it_would_ignore_control():
    compiled = torch.compile(toy_networks()["unet"], backend="eager")
    with pytest.raises(ModelError, match="compiled before"), inject(compiled, "mid"):
        pass


def test_a_place_takes_one_port_at_a_time(networks):
    unet = networks["unet"]
    with inject(unet, "down"), pytest.raises(ModelError, match="already"), inject(unet, "down"):
        pass
    with inject(unet, "down"), inject(unet, "mid"):
        pass


def test_the_unconditional_half_follows_the_weight() -> None:
    first = Injection(place="mid", weight=1.3, gate="sigmoid", unconditional=0.65)
    assert unconditional_weight(first, 1.3) == 0.65
    assert unconditional_weight(first, 0.65) == pytest.approx(0.325)
    assert unconditional_weight(first, 0.0) == 0
    assert unconditional_weight(Injection(place="down", weight=0.2), 1.0) == 0
