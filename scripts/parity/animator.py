"""Networks of an animator as a file of vectors states them, for whoever checks them.

Shapes: F frames, C H W a latent, T context tokens, D their width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

from torch import Tensor

from animate.models.config import Injection
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
