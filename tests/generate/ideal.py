"""Networks whose right answer is known, in place of a UNet.

For pixels that are independent and normal with mean `mean` and deviation `spread` the best
denoiser has a closed form, and so has the clip that the noise must become: sampling can be judged
against the exact solution.
"""

from __future__ import annotations

import torch
from torch import Tensor

from animate.generate.denoise import Call

SVD_SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "interpolation_type": "linear",
    "use_karras_sigmas": True,
    "sigma_min": 0.002,
    "sigma_max": 700.0,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "steps_offset": 1,
}


class IdealNetwork:
    """A `Predict` in Stable Video Diffusion's terms: v-prediction, told a quarter of log sigma."""

    def __init__(self, mean_FCHW: Tensor, spread: float) -> None:
        self.mean, self.spread = mean_FCHW, spread
        self.calls: list[Call] = []

    def __call__(self, sample_WSCHW: Tensor, control: Tensor | None, call: Call) -> Tensor:
        self.calls.append(call)
        sigma2 = torch.exp(8 * call.timestep.double())
        # One by one: an index made of a list would be uploaded, and a GPU waited for.
        mean = torch.stack([torch.stack([self.mean[f] for f in w.frames]) for w in call.windows])
        noisy = sample_WSCHW.double() * (sigma2 + 1).sqrt()
        clean = (self.spread**2 * noisy + sigma2 * mean) / (self.spread**2 + sigma2)
        return ((noisy / (sigma2 + 1) - clean) * ((sigma2 + 1) / sigma2).sqrt()).float()

    def solution(self, noise_FCHW: Tensor, sigma: float = 700.0) -> Tensor:
        """Where the exact flow takes the noise."""
        return self.mean + noise_FCHW * sigma * self.spread / (self.spread**2 + sigma**2) ** 0.5
