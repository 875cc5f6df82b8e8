"""On a CUDA device: nothing waits for it, and latents may lie on the host."""

from __future__ import annotations

import pytest
import torch

from animate.generate.denoise import Networks, Steps, denoise
from animate.generate.schedules import make_scheduler
from temporal.noise import frame_noise
from temporal.windows import plan_windows
from tests.generate.ideal import SVD_SCHEDULER, IdealNetwork

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
FRAMES, SHAPE = 19, (4, 6, 6)


def run(noise: torch.Tensor, device: str, network: IdealNetwork) -> torch.Tensor:
    scheduler = make_scheduler(SVD_SCHEDULER, 6, device=device)
    plan = plan_windows(FRAMES, window=8, overlap=3, steps=6, schedule="shifting")

    def strict(sample, control, call):
        assert sample.device.type == torch.device(device).type
        return network(sample, control, call)

    def mark(step, latents):
        if step == 0 and latents.is_cuda:  # tables are uploaded before the first step
            torch.cuda.set_sync_debug_mode("error")

    try:
        steps = Steps(plan=plan, timesteps=scheduler.timesteps, scales=(None,) * 6)
        networks = Networks(predict=strict)
        return denoise(noise, scheduler, steps, networks, device=device, on_step=mark)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("home", ["cpu", "cuda"])
def test_the_device_gives_the_host_s_latents_without_being_waited_for(home):
    noise, mean = frame_noise(FRAMES, SHAPE, 3), frame_noise(FRAMES, SHAPE, 99)
    on_host = run(noise, "cpu", IdealNetwork(mean, 0.4))
    there = run(noise.to(home), "cuda", IdealNetwork(mean.cuda(), 0.4))
    assert there.device.type == home
    torch.testing.assert_close(there.cpu(), on_host, rtol=0, atol=1e-3)
