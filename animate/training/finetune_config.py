"""Recipes that start from a model: every number that decides a fine-tuning, read from YAML."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from animate.errors import TrainingError
from animate.models.config import ControlWeights
from animate.request.schema import build, plain
from animate.request.values import Size
from animate.request.yaml_file import read_yaml
from animate.training.checkpoints import digest_of
from pose.kinds import EstimatorName

Kind = Literal["selective", "full", "lora"]


@dataclass(frozen=True, kw_only=True)
class VideoRecipe:
    """A folder of videos, and how clips are cut from them."""

    folder: str
    """Folder that is searched, its subfolders too."""
    size: Size
    """Size of the clips that are trained on, WIDTHxHEIGHT."""
    stride: int = 1
    """Every how many-th frame of a video makes a clip's frames."""
    gap: int = 8
    """Fewest frames of the video between the reference and the clip's nearest frame; shorter
    videos take the farthest frame there is."""
    zoom: float = 1.5
    """Most that a clip is enlarged beyond fitting the size; 1 always shows as much as fits."""
    mirror: float = 0.5
    """Chance that a clip is mirrored; left and right of its poses change places, too."""
    seen: float = 0.8
    """Smallest share of a clip's frames in which the person must be seen."""
    hold_out: int = 0
    """Videos, the last by name, that are kept for validation."""
    estimator: EstimatorName = "blazepose"
    """Name of the pose estimator."""
    estimator_folder: str | None = None
    """Folder with the estimator's files, where it needs any."""
    cache: str | None = None
    """Folder that keeps the poses; none given: the user's cache; "none": nothing is kept."""

    def __post_init__(self) -> None:
        for name in ("stride", "gap"):
            _at_least(f"data.videos.{name}", getattr(self, name), 1)
        _at_least("data.videos.hold_out", self.hold_out, 0)
        for name, most in (("mirror", 1.0), ("seen", 1.0)):
            _between(f"data.videos.{name}", getattr(self, name), 0.0, most)
        _between("data.videos.zoom", self.zoom, 1.0, 4.0)


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """Clips to train on."""

    videos: VideoRecipe


@dataclass(frozen=True, kw_only=True)
class WeighedObjective:
    """Noise levels and weights of the loss; see `animate.training.objective`."""

    sigma_mean: float = 0.7
    """Mean of the logarithm of sigma (of the published training)."""
    sigma_deviation: float = 1.6
    """Deviation of the logarithm of sigma."""
    dropout: float = 0.1
    """Chance that a clip is trained without its reference, which guidance needs."""
    near_weight: float = 2.0
    """Weight of the loss near the drawn skeleton; elsewhere 1. The mean is brought to 1."""
    hand_weight: float = 4.0
    """Weight of the loss on hands that are seen."""
    face_weight: float = 4.0
    """Weight of the loss on the face."""

    def __post_init__(self) -> None:
        _between("objective.dropout", self.dropout, 0.0, 0.99)
        for name in ("near_weight", "hand_weight", "face_weight"):
            _between(f"objective.{name}", getattr(self, name), 1.0, 1000.0)
        _between("objective.sigma_deviation", self.sigma_deviation, 0.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class LoraRecipe:
    """Sizes of the adapters that `train: lora` makes."""

    rank: int = 16
    alpha: float = 16.0
    """The adapters' product is scaled by alpha / rank."""
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    """Ends of the names of the UNet's layers that are adapted."""

    def __post_init__(self) -> None:
        _at_least("lora.rank", self.rank, 1)
        if not self.targets or not self.alpha > 0:
            raise TrainingError("lora needs targets and an alpha above 0")


@dataclass(frozen=True, kw_only=True)
class ValidationRecipe:
    """Clips that the moving average makes now and then, beside the true ones."""

    every: int = 200
    """Steps between two validations; 0: none."""
    clips: int = 2
    steps: int | None = None
    """Denoising steps; none given: the model's own."""

    def __post_init__(self) -> None:
        _at_least("validation.every", self.every, 0)
        _at_least("validation.clips", self.clips, 1)
        if self.steps is not None:
            _at_least("validation.steps", self.steps, 1)


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
    """A whole run from a base model. Raises `TrainingError` for what cannot be trained with."""

    name: str
    summary: str = ""
    """One sentence on what is made."""
    folder: Path
    """Folder of checkpoints, logs and pictures; it does not change the result."""
    base: str
    """Model variant or folder; also a folder in diffusers' layout of Stable Video Diffusion."""
    like: str = "svd-v2"
    """Variant whose constants a base folder without a `variant.yaml` takes."""
    control: ControlWeights = "keep"
    """The base's control network, or one with new weights."""
    train: Kind
    """selective: control network and the attention's output projections (the paper's -S);
    full: control network and all of the UNet (-F); lora: adapters alone."""
    data: DataRecipe
    objective: WeighedObjective = field(default_factory=WeighedObjective)
    lora: LoraRecipe = field(default_factory=LoraRecipe)
    validation: ValidationRecipe = field(default_factory=ValidationRecipe)
    seed: int = 0
    steps: int
    batch: int = 1
    """Clips of a batch, in each process."""
    accumulate: int = 1
    """Batches whose gradients make one step."""
    frames: int
    """Frames of a clip."""
    rate: float = 1e-5
    """Highest learning rate."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """Course of the learning rate, down to a hundredth at the end."""
    warm_up: int = 100
    """Steps over which it rises from 0."""
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.999
    """Share that the moving average of the weights keeps at a step."""
    gradient_checkpointing: bool = True
    """Compute the UNet's blocks again in the backward pass: less memory, more time."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Precision that the networks compute in (autocast); trained weights stay float32."""
    encode_chunk: int = 4
    """Frames that the autoencoder encodes together."""
    checkpoint_every: int = 100
    """Steps between two checkpoints."""
    trackers: tuple[Literal["tensorboard"], ...] = ()
    threads: int | None = None
    """CPU threads of a process; none given: torch's own choice."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "frames", "encode_chunk", "checkpoint_every"):
            _at_least(name, getattr(self, name), 1)
        _at_least("warm_up", self.warm_up, 0)
        if self.threads is not None:
            _at_least("threads", self.threads, 1)
        if not 0 < self.rate < 1:
            raise TrainingError(f"rate must lie between 0 and 1, not {self.rate}")
        if not 0 <= self.ema < 1:
            raise TrainingError(f"ema must lie in [0,1), not {self.ema}")
        if not self.clip_norm > 0 or self.weight_decay < 0:
            raise TrainingError("clip_norm must be above 0 and weight_decay not below it")
        if self.train == "lora" and self.control == "new":
            raise TrainingError("train: lora leaves the control network as it is; control: keep")

    def digest(self, **inputs: Any) -> str:
        """SHA-256 of what decides the weights; `inputs` are digests of base and data."""
        free = {"folder", "threads", "checkpoint_every", "summary", "name", "base", "trackers"}
        free |= {"validation", "encode_chunk"} | (set() if self.train == "lora" else {"lora"})
        values = {name: value for name, value in plain(self).items() if name not in free}
        moved = {"folder", "cache", "estimator_folder"}
        videos = values["data"]["videos"]
        values["data"] = {k: v for k, v in videos.items() if k not in moved}
        return digest_of({**values, **inputs})


def load_finetune_config(path: Path | str, **changes: Any) -> FineTuneConfig:
    """The recipe in a YAML file, some of its fields changed.

    Raises `TrainingError`, naming the file, for unknown names, impossible values, and recipes that
    train a model from nothing.
    """
    values = read_yaml(path, TrainingError)
    if "base" not in values and "networks" in values:
        raise TrainingError(
            f"{path} has no base, so it trains a model from nothing, and cnx train fine-tunes a "
            f"base on videos; in a checkout of the project, run python -m scripts.tiny.train {path}"
        )
    return replace(build(FineTuneConfig, values, str(path), TrainingError), **changes)


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise TrainingError(f"{name} must be at least {least}, not {value}")


def _between(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise TrainingError(f"{name} must lie between {least:g} and {most:g}, not {value:g}")
