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

HookPoint = Literal["stem", "stem-after", "down", "mid-input", "mid-output"]
ControlWeights = Literal["keep", "new"]
"""The control network of a base model, or one with new weights."""
Gate = Literal["none", "raw", "sigmoid"]
Halves = Literal["conditional", "both"]
Along = Literal["window", "clip"]
Pool = Literal["before", "after", "none"]
Layout = Literal["diffusers", "single-file", "animate-anyone"]
Family = Literal["svd", "reference-net"]
ImageLatents = Literal["reference", "warped"]


@dataclass(frozen=True, kw_only=True)
class ControlNetworkConfig:
    """Settings that every kind of control network has.

    A new kind adds a subclass here, an optional section of that name in `ModelVariant`, and a
    module in `animate.models.components.CONTROL_NETWORKS`.
    """

    in_channels: int = 3
    """Channels of a control frame (RGB)."""
    out_channels: int
    """Channels of the features: those of the UNet at the hook point."""
    learned_scale: bool = False
    """True where the checkpoint holds a scalar `scale` (v1)."""
    picture_range: tuple[float, ...] = (0.0, 1.0)
    """Values that black and white have for the network. Control frames come in [0,1]; the network
    itself brings them to this range."""

    def __post_init__(self) -> None:
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) < 1:
                raise ModelError(f"{name} must be positive, not {getattr(self, name)}")
        if len(self.picture_range) != 2 or not self.picture_range[0] < self.picture_range[1]:
            raise ModelError(
                f"picture_range must be two rising numbers, not {list(self.picture_range)}"
            )


@dataclass(frozen=True, kw_only=True)
class ControlNeXtConfig(ControlNetworkConfig):
    """Sizes of ControlNeXt's network. The defaults are those that both published networks share.

    Raises `ModelError` where two sizes do not fit together.
    """

    stem_channels: tuple[int, ...] = (64, 128)
    """Channels of the stem's first two convolutions, and of its third; none: there is no stem."""
    stem_groups: int = 2
    """Groups of the stem's group normalisations."""
    stem_padding: int = 0
    """Zero padding of the stem's second and third convolution: 0 in the published inference code,
    1 in the published training code."""
    stem_pool: bool = False
    """True where a 2x2 max-pool closes the stem (v1)."""
    block_channels: tuple[int, ...] = (128, 256)
    """Output channels of each residual block; every block halves the resolution."""
    block_groups: tuple[int, ...] = (4, 8)
    """Groups of each residual block's normalisations."""
    mid_groups: int = 8
    """Groups of the middle convolutions' normalisations; 0: they have none."""
    mid_shortcut: bool = True
    """True where the middle convolutions are added to their input (all but the first SD1.5)."""
    out_channels: int = 320
    time_channels: int = 128
    """Sinusoids that encode the timestep (even)."""
    time_embed_dim: int = 256
    """Width of the timestep's embedding."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.stem_channels) not in (0, 2):
            raise ModelError(f"stem_channels must be two sizes or none, not {self.stem_channels}")
        if not self.block_channels or len(self.block_channels) != len(self.block_groups):
            raise ModelError(
                "block_channels and block_groups must name the same number of blocks, at least "
                f"one, not {self.block_channels} and {self.block_groups}"
            )
        if self.stem_padding not in (0, 1):
            raise ModelError(f"stem_padding must be 0 or 1, not {self.stem_padding}")
        if self.time_channels < 2 or self.time_channels % 2:
            raise ModelError(f"time_channels must be even and positive, not {self.time_channels}")
        if self.time_embed_dim < 1:
            raise ModelError(f"time_embed_dim must be positive, not {self.time_embed_dim}")
        self._check_groups()

    @property
    def stem_width(self) -> int:
        """Channels that the first block takes."""
        return self.stem_channels[1] if self.stem_channels else self.in_channels

    def _check_groups(self) -> None:
        inputs = (self.stem_width, *self.block_channels)
        grouped = [(size, self.stem_groups) for size in self.stem_channels]
        for index, groups in enumerate(self.block_groups):
            grouped += [(inputs[index], groups), (inputs[index + 1], groups)]
        if self.mid_groups:
            grouped.append((self.block_channels[-1], self.mid_groups))
        for channels, groups in grouped:
            if groups < 1 or channels < 1 or channels % groups:
                raise ModelError(f"{channels} channels cannot be normalised in {groups} groups")


@dataclass(frozen=True, kw_only=True)
class PoseNetConfig(ControlNetworkConfig):
    """Sizes of the pose network of MimicMotion and StableAnimator."""

    channels: tuple[int, ...] = (16, 32, 64, 128)
    """Widths: each but the last is reached by a convolution of stride 2."""
    out_channels: int = 320
    learned_scale: bool = True
    """The network multiplies its output by its scale itself."""
    picture_range: tuple[float, ...] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.channels) < 2 or min(self.channels) < 1:
            raise ModelError(f"channels must be two positive sizes or more, not {self.channels}")


@dataclass(frozen=True, kw_only=True)
class PoseGuiderConfig(ControlNetworkConfig):
    """Sizes of AnimateAnyone's pose guider."""

    channels: tuple[int, ...] = (16, 32, 96, 256)
    """Widths: each but the first is reached by a convolution of stride 2."""
    out_channels: int = 320

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.channels) < 2 or min(self.channels) < 1:
            raise ModelError(f"channels must be two positive sizes or more, not {self.channels}")


@dataclass(frozen=True, kw_only=True)
class FaceConfig:
    """The face of the reference as tokens of the UNet's context: sizes of the face encoder, and the
    networks that find a face and describe it. Raises `ModelError` where sizes do not fit."""

    face_width: int = 512
    """Width of the face vector."""
    image_width: int = 1024
    """Width of the image embedding."""
    context_width: int = 1024
    """Width of the UNet's cross-attention context, a multiple of `head_width`."""
    tokens: int = 4
    """Face tokens that are appended to the context."""
    layers: int = 4
    """Layers of the perceiver."""
    head_width: int = 64
    """Width of an attention head."""
    detector: str = "scrfd_10g_bnkps.onnx"
    """File name of the face detector, which the user has to bring: SCRFD with five key points."""
    recogniser: str = "glintr100.onnx"
    """File name of the network that describes a face, in ArcFace's layout."""
    licence: str = ""
    """Licence of these two networks."""

    def __post_init__(self) -> None:
        for name in ("face_width", "image_width", "context_width", "tokens", "layers"):
            if getattr(self, name) < 1:
                raise ModelError(f"{name} must be positive, not {getattr(self, name)}")
        if self.head_width < 1 or self.context_width % self.head_width:
            raise ModelError(
                f"context_width {self.context_width} is not a multiple of head_width "
                f"{self.head_width}"
            )
        for name in ("detector", "recogniser"):
            if "/" in getattr(self, name) or not getattr(self, name).endswith(".onnx"):
                raise ModelError(f"{name} must be the name of an .onnx file")


@dataclass(frozen=True, kw_only=True)
class Injection:
    """The point where control features enter the UNet, their normalisation and their weight.

    The features are `weight * gate * normalise(pool(control))`; see `animate.models.injection`.
    """

    hook_point: HookPoint
    """"stem": the output of `conv_in`, so the first skip tensor has the control too;
    "stem-after": the input of the first down block, the first skip stays as it is;
    "down": the first down block's output, after its skip tensors were taken (v2);
    "mid-input", "mid-output": the middle block's input (v1) or output."""
    weight: float
    """Weight of the control: 0.2 (v2), 1.3 before the gate (v1)."""
    gate: Gate = "none"
    """Factor on the weight that the control network learned: "none" of it, its scale "raw", or the
    scale's "sigmoid" (v1)."""
    halves: Halves = "conditional"
    """Halves of guidance that get control: the "conditional" one alone, or "both"."""
    unconditional: float | None = None
    """Weight on the unconditional half where `halves` is "both" and it differs; None: the same. The
    published v1 sets the scale, not the weight, to zero there: 1.3 * sigmoid(0) = 0.65."""
    normalise: bool = True
    """True: the control takes the mean and deviation of the features (cross normalisation)."""
    pool: Pool = "after"
    """Statistics of the control as it comes, pooled "after" them; of the control that is pooled
    "before"; or "none": the network's output has the features' size already."""
    epsilon: float = 1e-5
    """Added to the control's deviation, which is a divisor."""

    def __post_init__(self) -> None:
        for name, choices in (
            ("hook_point", HookPoint),
            ("gate", Gate),
            ("halves", Halves),
            ("pool", Pool),
        ):
            _check_choice(name, getattr(self, name), get_args(choices))
        if self.unconditional is not None and self.halves != "both":
            raise ModelError(
                "unconditional is the weight on a half that gets no control; set halves to both"
            )
        for name in ("weight", "unconditional"):
            if not 0 <= (getattr(self, name) or 0) <= 10:
                raise ModelError(f"{name} must lie between 0 and 10, not {getattr(self, name)}")
        if not 0 <= self.epsilon <= 1:
            raise ModelError(f"epsilon must lie between 0 and 1, not {self.epsilon}")


@dataclass(frozen=True, kw_only=True)
class MicroConditions:
    """Numbers that the UNet gets beside the picture, the same for every clip.

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


NO_CONDITIONS = MicroConditions(fps=0.0, motion_bucket=0.0, noise_augmentation=0.0)
"""Those of a base that is given none."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A repository on the model hub that files of the variant come from."""

    repository: str
    """`owner/name`."""
    revision: str
    """Commit or branch. Where it is a branch, the digests are what pins the files."""
    licence: str
    licence_url: str = ""
    commercial: bool | None = None
    """Commercial use by the licence; None: the licence's name says it."""
    gated: bool = False
    """True where the licence must be accepted on the hub, with an account, before fetching."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the files whose digest is known, by path in the repository."""
    bytes: Mapping[str, int] = field(default_factory=dict)
    """Sizes of large files, by path in the repository."""

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
    """JSON file with the network's sizes, as diffusers and transformers write it; empty where they
    stand in the variant, and for networks of the family's published size."""
    weights: tuple[str, ...] = ()
    """Weight files, applied in this order: a later one may hold only the learned parameters."""
    layout: Layout = "diffusers"
    """Names of the tensors in the files: those of the network itself, those of a checkpoint in a
    single file (`animate.models.single_file`), or those of AnimateAnyone's UNets
    (`animate.models.reference_attention`)."""
    prefix: str = ""
    """Beginning of the network's names in files that hold several networks, such as `unet.`; files
    in which no name begins so are taken as the network's alone."""
    added: str = ""
    """File of the same network whose numbers are added to the weights: with `subtracted`, what a
    fine-tuning or a distillation of the base has changed."""
    subtracted: str = ""
    """File of the same network whose numbers are subtracted: the base of what is `added`."""

    def __post_init__(self) -> None:
        _check_choice("layout", self.layout, get_args(Layout))
        if not self.weights:
            raise ModelError("weights must name at least one file")
        if bool(self.added) != bool(self.subtracted):
            raise ModelError("added and subtracted go together: a model, and the base it came from")
        for reference in self.references:
            source, _, path = reference.rpartition(":")
            if "\0" in reference or (source and (path.startswith("/") or ".." in path.split("/"))):
                raise ModelError(
                    f"{reference!r} is no path in a repository; write it without '..' and a first /"
                )

    @property
    def references(self) -> tuple[str, ...]:
        """Every file that the network is made of."""
        files = (self.config, *self.weights, self.added, self.subtracted)
        return tuple(file for file in files if file)


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        known = ", ".join(str(choice) for choice in choices)
        raise ModelError(f"{name} must be one of {known}, not {value!r}")
