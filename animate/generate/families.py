"""Families of models: what is done differently where the base is another.

A variant names its family (`ModelVariant.family`). The loop, windows, fusing, workers, keeping and
batch are the same for all; a family encodes the reference, makes the scheduler, opens the networks
for a clip and decodes a group of frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from animate.generate.conditioning import Conditioning
from animate.generate.denoise import Networks
from animate.generate.engine import Engine
from animate.generate.network import ClipWork
from animate.generate.reference_net import ReferenceNet
from animate.generate.settings import ClipSettings
from animate.generate.video_diffusion import VideoDiffusion
from animate.models import config
from animate.models.components import Components
from animate.models.variants import ModelVariant
from temporal.vae import DecodeOptions


class Family(Protocol):
    """The parts of the algorithm that depend on the base."""

    def encode(
        self, engine: Engine, settings: ClipSettings, picture: np.ndarray, face: np.ndarray | None
    ) -> Conditioning:
        """Conditions of the UNet from the reference picture (H,W,3) uint8 RGB.

        Raises NotFiniteError.
        """

    def scheduler(self, variant: ModelVariant, settings: ClipSettings, device: torch.device) -> Any:
        """A new scheduler with its timesteps set, ready for `denoise`.

        Raises RequestError for a solver or levels that the family does not have.
        """

    def networks(
        self, parts: Components, work: ClipWork, device: torch.device
    ) -> AbstractContextManager[Networks]:
        """The networks on the device, control going in; undone at the end."""

    def decode(
        self, vae: Any, latents_FChw: Tensor, options: DecodeOptions, *, first: int
    ) -> Iterator[Tensor]:
        """Groups of frames (n,3,H,W) in [-1,1], from frame `first` on; NaN where not finite."""


FAMILIES: dict[config.Family, Family] = {
    "svd": VideoDiffusion(),
    "reference-net": ReferenceNet(),
}
"""The code of each family, by the name that variants give it."""


def family_of(variant: ModelVariant) -> Family:
    """The variant's family."""
    return FAMILIES[variant.family]
