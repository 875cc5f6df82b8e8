"""The parts of a model variant: plain validated values, without torch.

Published constants stand in the variant files (`configs/models`), not here and not in the code
that uses them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from animate.errors import ModelError

Place = Literal["down", "mid"]
Gate = Literal["none", "sigmoid"]


@dataclass(frozen=True, kw_only=True)
class ControlNeXtConfig:
    """Sizes of a control network. The defaults are those that both published networks share.

    Raises `ModelError` where two sizes do not fit together.
    """

    in_channels: int = 3
    """Channels of a control frame (RGB)."""
    stem_channels: tuple[int, ...] = (64, 128)
    """Channels of the stem's first two convolutions, and of its third."""
    stem_groups: int = 2
    """Groups of the stem's group normalisations."""
    stem_padding: int = 0
    """Zero padding of the stem's second and third convolution: 0 in the published inference code,
    1 in the published training code."""
    stem_pool: bool = False
    """Whether a 2x2 max-pool closes the stem (v1)."""
    block_channels: tuple[int, ...] = (128, 256)
    """Output channels of each residual block; every block halves the resolution."""
    block_groups: tuple[int, ...] = (4, 8)
    """Groups of each residual block's normalisations."""
    mid_groups: int = 8
    """Groups of the middle convolutions' normalisations."""
    out_channels: int = 320
    """Channels of the features: those of the UNet at the place of injection."""
    time_channels: int = 128
    """Sinusoids that encode the timestep (even)."""
    time_embed_dim: int = 256
    """Width of the timestep's embedding."""
    learned_scale: bool = False
    """Whether the checkpoint holds a scalar `scale` (v1)."""

    def __post_init__(self) -> None:
        if len(self.stem_channels) != 2:
            raise ModelError(f"stem_channels must be two sizes, not {self.stem_channels}")
        if not self.block_channels or len(self.block_channels) != len(self.block_groups):
            raise ModelError(
                "block_channels and block_groups must name the same number of blocks, at least "
                f"one, not {self.block_channels} and {self.block_groups}"
            )
        if self.stem_padding not in (0, 1):
            raise ModelError(f"stem_padding must be 0 or 1, not {self.stem_padding}")
        if self.time_channels < 2 or self.time_channels % 2:
            raise ModelError(f"time_channels must be even and positive, not {self.time_channels}")
        for name in ("in_channels", "out_channels", "time_embed_dim"):
            if getattr(self, name) < 1:
                raise ModelError(f"{name} must be positive, not {getattr(self, name)}")
        self._check_groups()

    def _check_groups(self) -> None:
        inputs = (self.stem_channels[1], *self.block_channels)
        grouped = [(size, self.stem_groups) for size in self.stem_channels]
        for index, groups in enumerate(self.block_groups):
            grouped += [(inputs[index], groups), (inputs[index + 1], groups)]
        grouped.append((self.block_channels[-1], self.mid_groups))
        for channels, groups in grouped:
            if groups < 1 or channels < 1 or channels % groups:
                raise ModelError(f"{channels} channels cannot be normalised in {groups} groups")


@dataclass(frozen=True, kw_only=True)
class Injection:
    """Where and how strongly control features are added to the UNet's."""

    place: Place
    """"down": onto the first down block's output, after its skip tensors were taken (v2);
    "mid": onto the middle block's input (v1)."""
    weight: float
    """Weight of the normalised control: 0.2 (v2), 1.3 before the gate (v1)."""
    gate: Gate = "none"
    """"sigmoid": the weight is multiplied by the sigmoid of the network's learned scale (v1)."""
    unconditional: float = 0.0
    """Weight on the unconditional half under guidance. The published v1 sets the scale, not the
    weight, to zero there, which leaves 1.3 * sigmoid(0) = 0.65."""

    def __post_init__(self) -> None:
        _check_choice("place", self.place, get_args(Place))
        _check_choice("gate", self.gate, get_args(Gate))
        for name in ("weight", "unconditional"):
            if not 0 <= getattr(self, name) <= 10:
                raise ModelError(f"{name} must lie between 0 and 10, not {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class MicroConditions:
    """What the UNet is told beside the picture, the same for every clip.

    The published code takes a frame rate and a motion bucket as arguments and ignores both.
    """

    fps: float
    motion_bucket: float
    noise_augmentation: float
    """Standard deviation of the noise added to the reference before it is encoded; also told to
    the UNet."""

    def __post_init__(self) -> None:
        if not 0 <= self.noise_augmentation <= 10:
            raise ModelError(
                f"noise_augmentation must lie between 0 and 10, not {self.noise_augmentation}"
            )

    def __iter__(self) -> Iterator[float]:
        """In the UNet's order: (fps, motion bucket, noise augmentation)."""
        return iter((self.fps, self.motion_bucket, self.noise_augmentation))


@dataclass(frozen=True, kw_only=True)
class Source:
    """A repository on the model hub that files of the variant come from."""

    repository: str
    """`owner/name`."""
    revision: str
    """Commit or branch. Where it is a branch, the digests are what pins the files."""
    licence: str
    licence_url: str = ""
    gated: bool = False
    """Whether the licence must be accepted on the hub, with an account, before fetching."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the files whose digest is known, by path in the repository."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repository):
            raise ModelError(f"repository must be owner/name, not {self.repository!r}")
        for path, digest in self.digests.items():
            if not re.fullmatch(r"[0-9a-f]{64}", str(digest)):
                raise ModelError(f"the digest of {path} is not 64 hexadecimal digits: {digest!r}")


@dataclass(frozen=True, kw_only=True)
class Component:
    """The files of one network. A file is `path` in the variant's own folder, or `source:path`."""

    config: str = ""
    """JSON file with the network's sizes, as diffusers and transformers write it; empty for the
    control network, whose sizes stand in the variant."""
    weights: tuple[str, ...] = ()
    """Weight files, applied in this order: a later one may hold only the learned parameters."""

    def __post_init__(self) -> None:
        if not self.weights:
            raise ModelError("weights must name at least one file")


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        known = ", ".join(str(choice) for choice in choices)
        raise ModelError(f"{name} must be one of {known}, not {value!r}")
