"""Control features in a stock UNet: where they go in, how strongly, and that they come off."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from animate.errors import InternalError, ModelError
from animate.models.config import HookPoint, Injection
from animate.models.injection import (
    cross_normalise,
    inject,
    learned_weight,
    unconditional_weight,
)
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


def at(hook_point: HookPoint, weight: float = 1.0, **changes: Any) -> Injection:
    return Injection(hook_point=hook_point, weight=weight, **changes)


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


@pytest.mark.parametrize("hook_point", get_args(HookPoint))
@torch.no_grad()
def test_without_control_and_after_the_block_the_unet_is_stock(networks, hook_point):
    unet = networks["unet"]
    stock = call(unet)
    with inject(unet, at(hook_point)) as port:
        assert torch.equal(call(unet), stock)
        port.control = control()
        assert not torch.allclose(call(unet), stock, atol=1e-3)
        port.control = None
        assert torch.equal(call(unet), stock)
        port.control = control()
    assert port.control is None
    assert torch.equal(call(unet), stock)
    for block in (unet.conv_in, unet.down_blocks[0], unet.mid_block):
        assert not block._forward_hooks
        assert not block._forward_pre_hooks


def test_hooks_come_off_after_an_error(networks):
    with pytest.raises(RuntimeError, match="stop"), inject(networks["unet"], at("mid-input")):
        raise RuntimeError("stop")
    assert not networks["unet"].mid_block._forward_pre_hooks


@torch.no_grad()
def test_down_leaves_the_skip_tensors_alone(networks):
    unet, seen = networks["unet"], {}
    with inject(unet, at("down", 0.5)) as port:
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
    with inject(unet, at("down", 0.7)) as port:
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
    with inject(unet, at("down", 0.7)) as port:
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
    with inject(networks["unet"], at("down")) as port:
        port.control, port.weights = features, weights
        with pytest.raises(InternalError, match="control"):
            call(networks["unet"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hook_point": "up"}, "hook_point must be one of stem, stem-after, down, mid-input"),
        ({"gate": "tanh"}, "gate must be one of none, raw, sigmoid"),
        ({"pool": "never"}, "pool must be one of before, after, none"),
        ({"halves": "neither"}, "halves must be one of conditional, both"),
        ({"unconditional": 0.5}, "unconditional is the weight on a half that gets no control"),
        ({"epsilon": -1.0}, "epsilon must lie between 0 and 1"),
        ({"weight": 11.0}, "weight must lie between 0 and 10"),
    ],
)
def test_impossible_injections_are_refused_by_name(values, message):
    with pytest.raises(ModelError, match=message):
        at(**{"hook_point": "down", **values})


def test_learned_weight_passes_through_the_gate():
    networks = toy_networks(learned_scale=True)
    controlnext = networks["controlnext"]
    plain = at("mid-input", 1.3)
    gated = at("mid-input", 1.3, gate="sigmoid")
    assert learned_weight(plain, controlnext) == 1.3
    assert learned_weight(plain, controlnext, 0.5) == 0.5
    weight = learned_weight(gated, controlnext)
    assert float(weight.detach()) == pytest.approx(1.3 * 0.7310586)
    weight.backward()
    raw = learned_weight(at("mid-input", 1.3, gate="raw"), controlnext)
    assert float(raw.detach()) == pytest.approx(1.3)
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
        with inject(unet, at("down", 1.0)) as port:
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
    with inject(unet, at("down", 1.0)) as port:
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
    with inject(unet, at("down", 1.0)) as port:
        compiled = torch.compile(unet, backend="eager")
        for features in (control(), None, control(seed=5)):
            port.control = features
            torch.testing.assert_close(call(compiled), call(unet))
        assert not torch.allclose(call(compiled), stock, atol=1e-3)
    torch.compiler.reset()


def test_a_unet_compiled_before_is_refused_because_it_would_ignore_control():
    compiled = torch.compile(toy_networks()["unet"], backend="eager")
    with pytest.raises(ModelError, match="compiled before"), inject(compiled, at("mid-input")):
        pass


def test_a_hook_point_takes_one_port_at_a_time(networks):
    unet = networks["unet"]
    with (
        inject(unet, at("down")),
        pytest.raises(ModelError, match="already"),
        inject(unet, at("down")),
    ):
        pass
    with inject(unet, at("down")), inject(unet, at("mid-input")):
        pass


def test_the_unconditional_half_follows_the_weight() -> None:
    none = torch.nn.Module()
    first = at("mid-input", 1.3, gate="sigmoid", halves="both", unconditional=0.65)
    assert unconditional_weight(first, none) == 0.65
    assert unconditional_weight(first, none, 1.3) == 0.65
    assert unconditional_weight(first, none, 0.65) == pytest.approx(0.325)
    assert unconditional_weight(first, none, 0.0) == 0
    assert unconditional_weight(at("down", 0.2), none, 1.0) == 0


def test_both_halves_have_one_weight_where_nothing_else_is_stated() -> None:
    assert unconditional_weight(at("stem", 0.4, halves="both"), torch.nn.Module(), 0.3) == 0.3
    controlnext = toy_networks(learned_scale=True)["controlnext"]
    gated = at("stem", 0.4, halves="both", gate="raw")
    assert unconditional_weight(gated, controlnext) == learned_weight(gated, controlnext)


@torch.no_grad()
def test_only_at_the_stem_the_first_skip_tensor_has_the_control(networks):
    unet, first_skips = networks["unet"], {}
    watch = unet.up_blocks[-1].register_forward_pre_hook(
        lambda block, args, kwargs: first_skips.update(
            {name: kwargs["res_hidden_states_tuple"][0].clone()}
        ),
        with_kwargs=True,
    )
    for name in ("stock", "stem", "stem-after"):
        with inject(unet, at("stem" if name == "stock" else name)) as port:
            port.control = None if name == "stock" else control()
            call(unet)
    watch.remove()
    assert torch.equal(first_skips["stem-after"], first_skips["stock"])
    assert not torch.allclose(first_skips["stem"], first_skips["stock"], atol=1e-3)


@torch.no_grad()
def test_the_middle_block_can_be_given_control_before_or_after_it(networks):
    unet, around = networks["unet"], {}
    with inject(unet, at("mid-output", 0.5)) as port:
        before = unet.mid_block.register_forward_pre_hook(
            lambda block, args, kwargs: around.update(taken=kwargs["hidden_states"]),
            with_kwargs=True,
        )
        call(unet)
        stock = around["taken"]
        port.control = control()
        watch = unet.up_blocks[0].register_forward_pre_hook(
            lambda block, args, kwargs: around.update(passed=kwargs["hidden_states"]),
            with_kwargs=True,
        )
        call(unet)
        assert torch.equal(around["taken"], stock)
        controlled = around["passed"]
        port.control = None
        call(unet)
        wanted = around["passed"] + 0.5 * cross_normalise(control(), around["passed"])
        before.remove()
        watch.remove()
    torch.testing.assert_close(controlled, wanted)


def test_pooled_before_normalising_the_statistics_are_those_of_the_pooled_control():
    features, large = torch.randn(2, 4, 5, 3), torch.randn(2, 4, 11, 7)
    pooled = torch.nn.functional.adaptive_avg_pool2d(large, (5, 3))
    wanted = cross_normalise(pooled, features, 1e-12, "none")
    assert torch.equal(cross_normalise(large, features, 1e-12, "before"), wanted)
    assert not torch.allclose(cross_normalise(large, features, 1e-12, "after"), wanted, atol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("pool", ["after", "none"])
def test_plain_control_is_added_as_it_is(networks, pool):
    unet, seen = networks["unet"], {}
    with inject(unet, at("stem", 0.5, normalise=False, pool=pool)) as port:
        watch = unet.conv_in.register_forward_hook(
            lambda block, args, output: seen.setdefault("all", []).append(output)
        )
        call(unet)
        drawn = torch.rand(2 * FRAMES, 32, 16, 16)
        port.control = drawn
        call(unet)
        watch.remove()
    torch.testing.assert_close(seen["all"][1], seen["all"][0] + 0.5 * drawn)


def test_control_of_another_size_is_refused_where_it_is_not_pooled(networks):
    with inject(networks["unet"], at("stem", pool="none")) as port:
        port.control = control()
        with pytest.raises(InternalError, match="the same size are needed"):
            call(networks["unet"])


def test_the_epsilon_decides_how_a_flat_control_counts():
    features, flat = torch.randn(1, 4, 4, 4), torch.full((1, 4, 4, 4), 2.0)
    flat[0, 0, 0, 0] = 2.001
    mild, strong = (cross_normalise(flat, features, eps).abs().max() for eps in (1.0, 1e-12))
    assert strong > 5 * mild
