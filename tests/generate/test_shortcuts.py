"""Deep features kept between steps: exact where nothing is skipped, cheaper where it is."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from animate.errors import RequestError
from animate.generate.denoise import Call, Networks, Steps, denoise
from animate.generate.feature_cache import DeepFeatures, cached_features
from animate.generate.network import GuidedUNet
from animate.generate.schedules import make_scheduler
from animate.models.config import Injection
from animate.models.injection import inject
from temporal.noise import frame_noise
from temporal.windows import plan_windows
from tests.generate.ideal import SVD_SCHEDULER

FRAMES, STEPS = 8, 6


def sample(
    unet, conditioning, every=None, *, together=True, scales=None, schedule="static", at="down"
):
    """A clip, and how often the middle and the last block ran."""
    noise = frame_noise(FRAMES, (4, 10, 6), 1)
    plan = plan_windows(FRAMES, window=5, overlap=2, steps=STEPS, schedule=schedule)
    ran: Counter[str] = Counter()
    channels = 64 if at.startswith("mid") else 32
    features = torch.randn(FRAMES, channels, 10, 6, generator=torch.Generator().manual_seed(4))

    def control(frames, timestep):
        return features[list(frames)]

    hooks = [
        unet.mid_block.resnets[0].register_forward_hook(lambda *_: ran.update(["middle"])),
        unet.up_blocks[-1].register_forward_hook(lambda *_: ran.update(["last"])),
    ]
    with inject(unet, Injection(hook_point=at, weight=0.5)) as port:
        network = GuidedUNet(unet, port, conditioning, together=together)
        networks = Networks(predict=network, control=control)
        scheduler = make_scheduler(SVD_SCHEDULER, STEPS)
        scales = tuple(scales or [torch.full((5,), 2.0)] * STEPS)
        steps = Steps(plan=plan, timesteps=scheduler.timesteps, scales=scales)
        if every is None:
            latents = denoise(noise, scheduler, steps, networks)
        else:
            with cached_features(unet, networks, plan, every=every) as caching:
                latents = denoise(noise, scheduler, steps, caching)
    for hook in hooks:
        hook.remove()
    return latents, ran


def test_every_step_in_full_is_the_same_to_the_bit_and_the_unet_is_restored(unet, conditioning):
    plain, ran = sample(unet, conditioning)
    kept, _ = sample(unet, conditioning, every=1)
    assert torch.equal(plain, kept)
    assert ran == {"middle": 2 * STEPS, "last": 2 * STEPS}
    again, _ = sample(unet, conditioning)
    assert torch.equal(plain, again)
    assert not any("forward" in vars(module) for module in unet.modules())


@pytest.mark.parametrize("together", [True, False])
def test_deep_blocks_run_at_one_step_in_so_many(unet, conditioning, together):
    plain, full = sample(unet, conditioning, together=together)
    kept, ran = sample(unet, conditioning, every=3, together=together)
    assert ran["last"] == full["last"]
    assert ran["middle"] == full["middle"] / 3
    assert torch.isfinite(kept).all()
    assert (kept - plain).abs().max() > 1e-3


@pytest.mark.parametrize("at", ["stem", "stem-after", "mid-input", "mid-output"])
def test_control_may_enter_anywhere(unet, conditioning, at):
    """Where the middle block does not run, what enters it has its size still."""
    plain, full = sample(unet, conditioning, at=at)
    same, _ = sample(unet, conditioning, every=1, at=at)
    assert torch.equal(plain, same)
    kept, ran = sample(unet, conditioning, every=3, at=at)
    assert ran["middle"] == full["middle"] / 3
    assert torch.isfinite(kept).all()


def test_halves_in_turn_keep_their_own_features(unet, conditioning):
    together, _ = sample(unet, conditioning, every=2)
    in_turn, _ = sample(unet, conditioning, every=2, together=False)
    torch.testing.assert_close(together, in_turn, rtol=1e-3, atol=1e-3)


def test_a_change_of_guidance_makes_features_new(unet, conditioning):
    scales = [None] * 3 + [torch.full((5,), 2.0)] * 3
    _, ran = sample(unet, conditioning, every=6, scales=scales)
    assert ran["middle"] == 2 * 2  # two windows, once with and once without


def test_features_that_no_step_may_use_are_let_go_of():
    deep, windows = DeepFeatures(every=2), plan_windows(8, window=4, overlap=0, steps=5).at(0)
    held = []
    for step, scale in enumerate([torch.ones(4)] * 2 + [None] * 3):
        for window in windows:
            deep.enter(Call(step=step, timestep=torch.tensor(1.0), scale=scale, windows=(window,)))
            deep.begin()
            deep.output(lambda: torch.zeros(1))
        held.append(deep.held)
    assert held == [2, 2, 2, 2, 2]


def test_bad_settings_are_refused(unet, conditioning):
    with pytest.raises(RequestError, match="fewest is 1"):
        sample(unet, conditioning, every=0)
    with pytest.raises(RequestError, match="static or the anchored"):
        sample(unet, conditioning, every=2, schedule="shifting")
