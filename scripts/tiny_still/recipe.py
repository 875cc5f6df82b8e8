"""The recipe: every number that decides the model, read from YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from animate.errors import TrainingError
from animate.models.config import ControlNeXtConfig, Injection
from animate.request.schema import plain
from animate.training.checkpoints import digest_of
from scripts.bundled.recipe import BundledRecipe, deciding

RECIPE = Path(__file__).with_name("tiny-still.yaml")


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Rendered people."""

    size: tuple[int, ...] = (64, 96)
    """[width, height] in pixels, multiples of 16."""
    people: int = 6000
    poses: int = 3
    """Pictures of each person."""
    pose_style: str = "small"
    """Style (of `pose.draw`) of the control pictures."""


@dataclass(frozen=True, kw_only=True)
class Autoencoder:
    """The autoencoder, whose encoder is a patch basis and whose decoder is trained."""

    latents: int = 8
    blocks: tuple[int, ...] = (32, 32, 64)
    """Channels from the full resolution down; the last must be wider than the one before."""
    basis_pictures: int = 600
    steps: int = 900
    batch: int = 8
    rate: float = 2e-3
    noise: float = 0.05
    """Standard deviation of the noise on latents, which a denoiser leaves behind."""


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Sizes of the networks that are trained together."""

    channels: tuple[int, ...] = (64, 128, 128)
    """Channels of the UNet's blocks; all but the first have attention."""
    layers: int = 1
    heads: int = 4
    text_width: int = 96
    text_layers: int = 2
    text_length: int = 32
    """Tokens of a prompt, with its beginning and end."""
    controlnext: ControlNeXtConfig
    injection: Injection


@dataclass(frozen=True, kw_only=True)
class Style:
    """A style that a LoRA learns."""

    name: str = "ink"
    people: int = 400
    steps: int = 400
    rank: int = 8
    rate: float = 2e-3


@dataclass(frozen=True, kw_only=True)
class StillRecipe(BundledRecipe):
    """A whole run. Raises `TrainingError` for values that cannot be trained with."""

    pictures: Pictures = field(default_factory=Pictures)
    autoencoder: Autoencoder = field(default_factory=Autoencoder)
    networks: Networks
    style: Style = field(default_factory=Style)
    steps: int = 6000
    batch: int = 16
    rate: float = 1e-3
    final_rate: float = 1e-5
    steady: float = 0.6
    """Share of the steps at the highest rate; then it falls as a cosine."""
    without_text: float = 0.1
    """Share of pictures that are trained without their caption."""
    parts: int = 4
    """Equal parts of a batch, the last of which is trained without control."""
    near_weight: float = 3.0
    """Weight of the loss near the skeleton; elsewhere 1."""
    pixel_weight: float = 0.5
    """0: all latents count alike; 1: each by what its error does to pixels."""
    checkpoint_every: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.pictures.size) != 2 or any(side % 16 for side in self.pictures.size):
            raise TrainingError(f"size {self.pictures.size} is not two multiples of 16")
        if self.parts < 2 or self.batch % self.parts:
            raise TrainingError(f"a batch of {self.batch} has no {self.parts} equal parts")

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        width, height = self.pictures.size
        return width, height

    def digest(self) -> str:
        """SHA-256 of all that decides the networks."""
        free = {"folder", "checkpoint_every", "summary", "style"}
        return digest_of(deciding(self, free))

    def autoencoder_digest(self) -> str:
        """SHA-256 of all that decides the autoencoder."""
        return digest_of([self.seed, self.precision, plain(self.pictures), plain(self.autoencoder)])
