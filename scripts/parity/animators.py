"""Check MimicMotion, StableAnimator and AnimateAnyone against vectors of their published code.

Shapes: F frames, C H W a latent, T context tokens, D their width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from animate.models.config import Injection
from scripts.parity.checks import NETWORK_TOLERANCE, PIPELINE_TOLERANCE, Check, compare, skipped
from scripts.parity.recipe import fill

ADDED = Injection(hook_point="stem", normalise=False, pool="none", weight=1.0)
"""Control of all of them: added to the first convolution's output as it is."""
Computed = dict[str, Tensor]


class Animator:
    """Networks of a file's settings, built and filled when first used."""

    tolerance: float
    """Limit of latents and frames."""
    inputs: frozenset[str]
    """Names of the file that are given, not compared."""

    def __init__(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> None:
        self.tensors, self.settings = tensors, settings
        self.salt = str(settings.get("salt", ""))

    def groups(self) -> Mapping[str, Callable[[], Computed]]:
        """The function that computes the tensors of each group, by the beginning of their names."""
        raise NotImplementedError

    def opened(self) -> AbstractContextManager[None]:
        """Context in which the networks are called."""
        return nullcontext()

    def noise_after_first_step(self, computed: Computed) -> float:
        """Deviation that latents have after the first step."""
        return 1.0

    @cached_property
    def image_encoder(self) -> Any:
        """The stock image encoder."""
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        config = CLIPVisionConfig(**self.settings["clip"])
        return fill(CLIPVisionModelWithProjection(config), self.salt + "clip").eval()

    def kept_frames(self, frames_F3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Frames in [0,1] that the file has, and the mean of every one (1,F)."""
        levels = (frames_F3HW / 2 + 0.5).clamp(0, 1)
        return levels[list(self.settings["frames_kept"])], levels.mean((1, 2, 3))[None]


@torch.no_grad()
def check_animator(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> list[Check]:
    """Every tensor of an animator's vectors file, checked or with the reason why it was not."""
    if "reference_unet" in settings:
        from scripts.parity.animate_anyone import AnimateAnyone as Kind
    else:
        from scripts.parity.pose_net_animators import PoseNetAnimator as Kind  # type: ignore[assignment]
    networks: Animator = Kind(tensors, settings)
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
