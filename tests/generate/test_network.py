"""Guidance halves and control on a stock UNet, and the control network's frames."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from animate.generate.denoise import Call
from animate.generate.guidance import guide
from animate.generate.network import ControlEncoder, GuidedUNet
from animate.models.config import Injection
from animate.models.injection import inject
from temporal.windows import plan_windows

SLOTS = 5
WINDOWS = plan_windows(8, window=SLOTS, overlap=2, steps=1).at(0)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


SAMPLE = draw(2, SLOTS, 4, 10, 6)
FEATURES = draw(2, SLOTS, 32, 10, 6, seed=1)
SCALE = torch.linspace(1, 3, SLOTS)


def call(windows: int = 1, scale: torch.Tensor | None = SCALE) -> Call:
    return Call(step=0, timestep=torch.tensor(0.7), scale=scale, windows=WINDOWS[:windows])


def by_hand(unet, port, known, control, weight, image=None):
    """One half of one window, plainly."""
    if image is None:
        image = known.latents[:, None].expand(-1, SLOTS, -1, -1, -1)
    port.control, port.weights = control, [weight]
    result = unet(
        torch.cat([SAMPLE[:1], image], dim=2),
        torch.tensor(0.7),
        encoder_hidden_states=known.embedding,
        added_time_ids=known.micro,
        return_dict=False,
    )[0]
    port.control = port.weights = None
    return result


@torch.no_grad()
@pytest.mark.parametrize("unconditional", [0.0, 0.65])
@pytest.mark.parametrize("together", [True, False])
def test_halves_are_guided_with_control_by_their_weights(
    unet, conditioning, together, unconditional
):
    with inject(unet, Injection(hook_point="down", weight=0.8)) as port:
        network = GuidedUNet(
            unet, port, conditioning, unconditional_weight=unconditional, together=together
        )
        ours = network(SAMPLE[:1], FEATURES[:1], call())
        blank = by_hand(unet, port, conditioning.unconditional(), FEATURES[0], unconditional)
        known = by_hand(unet, port, conditioning, FEATURES[0], 0.8)
    torch.testing.assert_close(ours, guide(blank, known, SCALE), rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("together", [True, False])
def test_each_slot_has_the_image_latents_of_the_frame_whose_pose_it_has(
    unet, conditioning, together
):
    """And the unconditional half has none."""
    latents = draw(8, 4, 10, 6, seed=3).half()
    own = replace(conditioning, frame_latents=latents)
    window = replace(WINDOWS[1], control=WINDOWS[1].frames[::-1])
    with inject(unet, Injection(hook_point="down", weight=0.8)) as port:
        ours = GuidedUNet(unet, port, own, together=together)(
            SAMPLE[:1], FEATURES[:1], replace(call(), windows=(window,))
        )
        blank = by_hand(unet, port, conditioning.unconditional(), FEATURES[0], 0.0)
        image = latents[list(window.control)].float()[None]
        known = by_hand(unet, port, conditioning, FEATURES[0], 0.8, image)
        plain = by_hand(unet, port, conditioning, FEATURES[0], 0.8)
    torch.testing.assert_close(ours, guide(blank, known, SCALE), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(known, plain, atol=1e-2)


@torch.no_grad()
def test_without_a_scale_only_the_conditional_half_runs(unet, conditioning):
    rows = []
    handle = unet.conv_in.register_forward_hook(lambda m, a, out: rows.append(len(out)))
    with inject(unet, Injection(hook_point="down", weight=0.8)) as port:
        network = GuidedUNet(unet, port, conditioning)
        ours = network(SAMPLE[:1], FEATURES[:1], call(scale=None))
        handle.remove()
        known = by_hand(unet, port, conditioning, FEATURES[0], 0.8)
    assert rows == [SLOTS]
    torch.testing.assert_close(ours, known)


@torch.no_grad()
@pytest.mark.parametrize("scale", [SCALE, None])
def test_windows_together_are_windows_alone(unet, conditioning, scale):
    with inject(unet, Injection(hook_point="down", weight=0.8)) as port:
        network = GuidedUNet(unet, port, conditioning)
        both = network(SAMPLE, FEATURES, call(2, scale))
        alone = [network(SAMPLE[w : w + 1], FEATURES[w : w + 1], call(1, scale)) for w in (0, 1)]
    torch.testing.assert_close(both, torch.cat(alone), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_no_control_is_the_bare_network_and_the_port_is_left_empty(unet, conditioning):
    with inject(unet, Injection(hook_point="down", weight=0.8)) as port:
        network = GuidedUNet(unet, port, conditioning)
        bare = network(SAMPLE[:1], None, call(scale=None))
        controlled = network(SAMPLE[:1], FEATURES[:1], call(scale=None))
        assert port.control is None
        assert port.weights is None
        torch.testing.assert_close(bare, by_hand(unet, port, conditioning, None, 0.8))
    assert (bare - controlled).abs().max() > 1e-3


@torch.no_grad()
def test_the_context_is_the_same_tensor_at_every_call(unet, conditioning):
    seen = []
    handle = unet.register_forward_pre_hook(
        lambda m, args, kwargs: seen.append(kwargs["encoder_hidden_states"]), with_kwargs=True
    )
    with inject(unet, Injection(hook_point="down", weight=0.8)) as port:
        network = GuidedUNet(unet, port, conditioning)
        for _ in range(2):
            network(SAMPLE[:1], FEATURES[:1], call())
    handle.remove()
    assert seen[0] is seen[1]


class Blur(torch.nn.Module):
    """A control network of one convolution that knows the timestep."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, frames_BFCHW, timestep):
        assert frames_BFCHW.min() >= 0
        assert frames_BFCHW.max() <= 1
        return self.conv(frames_BFCHW.flatten(0, 1)) * timestep


@torch.no_grad()
def test_control_frames_are_encoded_alike_in_any_chunks_and_from_bytes():
    frames = torch.randint(0, 256, (20, 3, 9, 7), generator=torch.Generator().manual_seed(1))
    network, time = Blur(), torch.tensor(0.5)
    wanted = [3, 4, 5, 6, 11, 0]
    plain = network(frames[wanted][None].float() / 255, time)
    for chunk in (1, 4, 6, 50):
        from_bytes = ControlEncoder(
            controlnext=network, draw=lambda f: frames[f].to(torch.uint8), chunk=chunk
        )
        floats = ControlEncoder(controlnext=network, draw=lambda f: frames[f] / 255, chunk=chunk)
        torch.testing.assert_close(from_bytes(wanted, time), plain)
        torch.testing.assert_close(floats(wanted, time), plain)
