"""Check MimicMotion, StableAnimator and AnimateAnyone against vectors of their published code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scripts.parity.animate_anyone import AnimateAnyone
from scripts.parity.animator import Animator, Computed
from scripts.parity.checks import NETWORK_TOLERANCE, PIPELINE_TOLERANCE, Check, compare, skipped
from scripts.parity.pose_net_animators import PoseNetAnimator


@torch.no_grad()
def check_animator(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> list[Check]:
    """Every tensor of an animator's vectors file, checked or with the reason why it was not."""
    kind = AnimateAnyone if "reference_unet" in settings else PoseNetAnimator
    networks: Animator = kind(tensors, settings)
    computed: Computed = {}
    with networks.opened():
        for prefix, compute in networks.groups().items():
            if any(name.startswith(prefix) for name in tensors):
                computed |= compute()
    checks = []
    for name in sorted(tensors):
        if name == "pipeline.latents_step0" and name in computed:
            checks.append(_first_step(networks, computed, tensors[name]))
        elif name in computed:
            run = name.startswith(("pipeline.latents", "pipeline.frames"))
            limit = networks.tolerance if run else NETWORK_TOLERANCE
            checks.append(compare(name, computed[name], tensors[name], limit))
        elif name not in networks.inputs:
            checks.append(skipped(name, "no meaning known"))
    return checks


def _first_step(networks: Animator, computed: Computed, published: Tensor) -> Check:
    """The latents after the first step, in units of the noise that is left in them.

    The first step of a schedule that begins at noise of 700 takes numbers beyond 2,000 from each
    other, in float32: there the published step itself is rounded to 2.4e-4. What the network is
    given next is the latents over their noise. In absolute numbers the vectors' own limit holds.
    """
    noise = networks.noise_after_first_step(computed)
    values = computed["pipeline.latents_step0"]
    limit = min(networks.tolerance, PIPELINE_TOLERANCE / noise)
    absolute = float((values - published).abs().max()) if values.shape == published.shape else 0.0
    note = f"in units of its noise, {noise:.4g}; {absolute:.3e} in numbers" if noise > 1 else ""
    return compare("pipeline.latents_step0", values / noise, published / noise, limit, note)
