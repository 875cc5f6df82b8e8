"""Training recipes: every number that decides what a run or its last stage makes, read from YAML.

A run is a list of stages over clip sets; what is made depends on the recipe alone, and a
checkpoint remembers the recipe's digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from animate.errors import TrainingError
from animate.models.config import ControlNeXtConfig, ImageLatents
from animate.request.schema import plain
from animate.training.checkpoints import digest_of
from animate.training.objective import ObjectiveRecipe
from scripts.bundled.recipe import BundledRecipe, deciding


@dataclass(frozen=True, kw_only=True)
class SetRecipe:
    """Procedural clips of one size."""

    size: tuple[int, ...]
    """[width, height] in pixels, multiples of 16."""
    clips: int
    """Number of characters, whose seeds run from 0."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe:
    """The autoencoder: sizes, and how its decoder is trained."""

    latents: int = 12
    """Latent channels."""
    blocks: tuple[int, ...] = (32, 32, 64)
    """Channels from the full resolution down; the last must be wider than the one before."""
    layers: int = 1
    """Residual layers of a block."""
    sets: tuple[SetRecipe, ...]
    basis_images: int = 600
    """Images whose patches the closed-form encoder is fitted to."""
    cycles: tuple[int, ...] = (500,)
    """Steps of each cycle of the learning rate; it starts again at each."""
    batch: int = 5
    """Clips of a step."""
    frames: int = 3
    """Frames of a clip: at least 3, or no frame has two neighbours."""
    crop: int = 64
    """Side of the square that is cut from a clip, in pixels."""
    rate: float = 2e-3
    """Highest learning rate; it warms up over a twentieth of a cycle and falls as a cosine."""
    noise: float = 0.03
    """Standard deviation of the noise on latents, which a denoiser leaves behind."""


@dataclass(frozen=True, kw_only=True)
class NetworkRecipe:
    """Sizes of the denoising networks."""

    channels: tuple[int, ...] = (64, 128, 128)
    """Channels of the UNet's blocks from the finest down; all but the first have attention."""
    layers: int = 1
    """Residual layers of a block."""
    heads: int = 4
    """Attention heads."""
    context: int = 64
    """Width of the image embedding."""
    time_width: int = 32
    """Sinusoids for each micro-condition."""
    encoder_size: int = 64
    """Side of the image encoder's input in pixels."""
    encoder_patch: int = 8
    encoder_width: int = 64
    encoder_layers: int = 2
    controlnext: ControlNeXtConfig
    control_weight: float = 1.0
    """Weight of the normalised control features."""
    channels_per_group: int = 8
    """Fewest channels that a group of the UNet's and the autoencoder's normalisations has."""


@dataclass(frozen=True, kw_only=True)
class PoseNoiseRecipe:
    """Errors of pose estimators; see `scripts.tiny.data.PoseNoise`."""

    no_face: float = 0.1
    no_hand: float = 0.2
    no_joint: float = 0.02
    jitter: float = 0.003
    dimmed: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of the run with its own sizes, clip length and learning rate."""

    sets: tuple[SetRecipe, ...]
    steps: int
    batch: int
    """Clips of a step."""
    frames: int
    """Frames of a clip."""
    rate: float
    """Learning rate at the stage's start."""
    final_rate: float
    """Learning rate at its end; between them a cosine."""
    sigma_mean: float | None = None
    """The objective's `sigma_mean` in this stage; None: unchanged."""
    sigma: float | None = None
    """One noise level for the whole stage, such as the one that is sampled from; None: drawn."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(BundledRecipe):
    """A whole run. Raises `TrainingError` for values that cannot be trained with."""

    pose_style: str = "small"
    """Style (of `pose.draw`) of the control frames."""
    image_latents: ImageLatents
    """The variant's (`ModelVariant.image_latents`)."""
    adds_image_latents: bool = False
    """The variant's; a start that did not add them begins with a UNet that predicts nothing."""
    unwarped: float = 0.13
    """Chance that a clip of a warped recipe is trained with the reference as it is, since poses
    of a reference are not always known."""
    start_from: str | None = None
    """Variant or model folder whose networks and autoencoder the run starts from; none: from
    nothing, by the next two."""
    autoencoder: AutoencoderRecipe | None = None
    networks: NetworkRecipe | None = None
    objective: ObjectiveRecipe = field(default_factory=ObjectiveRecipe)
    pose_noise: PoseNoiseRecipe = field(default_factory=PoseNoiseRecipe)
    stages: tuple[Stage, ...]
    sampling_steps: int = 2
    """Denoising steps that the exported model takes by default."""
    sampling_overlap: int = 3
    """Frames that its windows share by default."""
    sampling_sigma_min: float | None = None
    """Least noise level that it samples at, so that no step asks for one that it has not learned;
    None: the start's."""
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    validate_every: int = 0
    """Steps between two looks at held-out characters; 0: none."""
    validate_clips: int = 12
    """Held-out characters of a look, 8 frames of each."""
    threads: int = 1
    """Threads that one process computes with; more processes are faster than more threads."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.stages:
            raise TrainingError("stages must name at least one stage")
        if not 0 <= self.unwarped <= 1:
            raise TrainingError(f"unwarped must lie in [0,1], not {self.unwarped}")
        parts = [self.autoencoder, self.networks]
        if [part is None for part in parts] != [self.start_from is not None] * 2:
            raise TrainingError(
                "a recipe has either start_from, or autoencoder and networks of its own"
            )
        for stage in self.stages:
            if min(stage.steps, stage.batch, stage.frames) < 1 or stage.frames > 8:
                raise TrainingError("a stage needs steps and a batch, and 1 to 8 frames")

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, position: float) -> tuple[Stage, float]:
        """The stage at a number of steps from the beginning, and how far it is, from 0 to 1."""
        first = 0
        for stage in self.stages:
            if position < first + stage.steps:
                return stage, (position - first) / stage.steps
            first += stage.steps
        raise AssertionError("asked for a stage after the last step")

    def digest(self, start: Mapping[str, str]) -> str:
        """SHA-256 of what decides the weights: everything but folder, threads and intervals, with
        the digests of the weights that the run starts from."""
        free = {"folder", "threads", "checkpoint_every", "summary", "start_from"}
        free |= {"sampling_steps", "sampling_overlap", "sampling_sigma_min"}
        free |= {"validate_every", "validate_clips"}
        return digest_of({**deciding(self, free), "start": dict(start)})

    def autoencoder_digest(self) -> str:
        """SHA-256 of what decides the autoencoder, which the networks' recipe does not change."""
        return digest_of([self.seed, self.precision, plain(self.autoencoder)])


@dataclass(frozen=True, kw_only=True)
class SharpeningConfig:
    """A whole stage. Raises `TrainingError` for values that cannot be trained with."""

    start_from: str
    """Variant or model folder that the stage starts from, and whose description it keeps."""
    folder: Path
    """Folder of checkpoints and logs, beside the rendered clips; it does not change the result."""
    seed: int = 0
    steps: int
    batch: int = 3
    """Clips of a step."""
    frames: int = 6
    """Frames of a clip, a multiple of the frames that are decoded together."""
    sets: tuple[SetRecipe, ...]
    sigma: float = 80.0
    """The noise level that is sampled from."""
    rate: float = 1.5e-4
    """Highest learning rate of UNet and decoder, falling as a cosine to a twentieth."""
    critic_rate: float = 4e-4
    """Learning rate of the discriminator."""
    critic_width: int = 32
    """Channels of the discriminator's first layer."""
    slopes: float = 1.0
    """Weight of the error of slopes beside the absolute error."""
    adversarial: float = 0.5
    """Pull of the discriminator's judgement at the pixels over that of the errors in pixels
    (lengths of gradients, as in VQGAN, arXiv 2012.09841); reached after `warm_up` steps."""
    features: float = 0.5
    """The same of the distance of the discriminator's features."""
    latents: float = 0.05
    """Weight of the denoiser's own loss."""
    near_weight: float = 3.0
    """Weight of pixels near the skeleton; elsewhere 1."""
    warm_up: int = 50
    """Steps over which rates and the discriminator's weight rise from 0."""
    unwarped: float = 0.13
    pose_noise: PoseNoiseRecipe = field(default_factory=PoseNoiseRecipe)
    ema: float = 0.995
    """Share that the moving average of the weights keeps at a step."""
    checkpoint_every: int = 50
    validate_every: int = 0
    """Steps between two looks at held-out characters; 0: none."""
    validate_clips: int = 12
    threads: int = 1

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.frames) < 1:
            raise TrainingError("steps, batch and frames must be at least 1")

    def digest(self, start: Mapping[str, str]) -> str:
        """SHA-256 of what decides the weights, with the digests of the start's."""
        free = {"folder", "threads", "checkpoint_every", "start_from", "validate_every"}
        free |= {"validate_clips"}
        return digest_of({**deciding(self, free), "start": dict(start)})
