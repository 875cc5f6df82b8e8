"""Model variants as data: which files, which sizes, which constants, whose licence.

A variant is a YAML file: `configs/models/NAME.yaml`, or `variant.yaml` in a folder together with
the weights. `tiny` is bundled as such a folder; the published variants name repositories on the
model hub. Neither torch nor diffusers is imported here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Never

from animate.errors import ModelError
from animate.files import real_path
from animate.models.config import (
    NO_CONDITIONS,
    Along,
    Component,
    ControlNetworkConfig,
    ControlNeXtConfig,
    FaceConfig,
    Family,
    ImageLatents,
    Injection,
    MicroConditions,
    PoseGuiderConfig,
    PoseNetConfig,
    Source,
)
from animate.models.store import ModelFile
from animate.request.presets import configs_folder
from animate.request.request import SamplingOptions
from animate.request.schema import build, plain
from animate.request.values import Size
from animate.request.wording import listed, nearest
from animate.request.yaml_file import read_yaml

VARIANT_FILE = "variant.yaml"
COMPONENTS = ("unet", "vae", "image_encoder", "controlnext")
EXTRA_COMPONENTS: Mapping[Family, tuple[str, ...]] = {
    "svd": (),
    "reference-net": ("reference_unet",),
}
"""Networks that models of a family have besides."""
CONTROL_SECTIONS = ("controlnext", "pose_net", "pose_guider")
"""Settings of a variant that state a control network, one for each kind."""
_BUNDLED = "tiny"
_BEST = "svd-v2"
_STATED = ("steps", "window", "overlap", "guidance", "schedule", "fusing", "decode_chunk")
"""Sampling options that every variant states."""
_MAY_STATE = {"noise": "independent"}
"""Sampling options that a variant may state, with their values otherwise; it states no others."""


@dataclass(frozen=True, kw_only=True)
class ModelVariant:
    """Everything that is particular to one model."""

    name: str
    summary: str
    """One sentence on what it is."""
    licence: str
    """Licence of this variant's own weights; each source states its own."""
    licence_url: str = ""
    sizes: tuple[Size, ...]
    """Sizes (width, height) that it was trained on; the first is the default."""
    size_multiple: int
    """Both sides of a clip must be multiples of this."""
    sampling: SamplingOptions
    """Values that the variant samples with where a request leaves them open: all of `_STATED`. Its
    window is the length that it was trained on; its decode chunk what the VAE's temporal layers
    learned from, for they see no further."""
    family: Family = "svd"
    """Base, and what is done differently there (`animate.generate.families`)."""
    micro_conditions: MicroConditions = NO_CONDITIONS
    """The numbers that the UNet gets beside the picture; of the family svd alone."""
    leading_reference: bool = False
    """True where every clip begins with the reference in its own pose, which is then left out."""
    guidance_along: Along = "window"
    """The guidance scale runs from its first to its last value along a "window" or the "clip"."""
    commercial: bool | None = None
    """Commercial use of the variant with all that it needs; None: its licences' names say it."""
    code_licence: str = ""
    """Licence of the published code whose numbers the variant is held to."""
    code_url: str = ""
    """Address of that code."""
    peak_memory: int | None = None
    """Predicted peak on a GPU, in bytes: one window of the default size and length, in float16."""
    injection: Injection
    controlnext: ControlNeXtConfig | None = None
    """Sizes of the control network, in the section named after its kind; there is one."""
    pose_net: PoseNetConfig | None = None
    pose_guider: PoseGuiderConfig | None = None
    face: FaceConfig | None = None
    """Face tokens in the context, and the attention that reads them; None: the image alone."""
    pose_style: str = "published"
    """Style (of `pose.draw`) of the control frames that the control network was trained on."""
    image_latents: ImageLatents = "reference"
    """Picture that a frame's image latents are made of: the "reference" as it is, or its person
    "warped" limb by limb to the frame's pose (`animate.driving.limb_warp`)."""
    adds_image_latents: bool = False
    """True where the UNet predicts what the image latents lack (`animate.models.added_latents`)."""
    channels_per_group: int | None = None
    """Fewest channels that one group of a group normalisation of UNet and VAE has; None keeps
    diffusers' 32 groups. With few channels those would be instance normalisation, which loses
    absolute colour."""
    feature_mean: tuple[float, ...]
    """Per-channel mean that the image encoder's input (RGB in [0,1]) is normalised with."""
    feature_std: tuple[float, ...]
    distilled_levels: int | None = None
    """Noise levels that a distilled UNet was trained at, of which a step takes every N-th and goes
    to the clean latents at once (`animate.generate.consistency`); None: it is not distilled."""
    scheduler: Mapping[str, Any]
    """Configuration of diffusers' `EulerDiscreteScheduler`, or of the family's own scheduler."""
    sources: Mapping[str, Source] = field(default_factory=dict)
    """Repositories by the name that `components` calls them."""
    components: Mapping[str, Component]
    """Files of the networks that `networks` names."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of files in the variant's own folder, by path."""
    folder: Path | None = None
    """Folder of the variant's own files, not part of the YAML."""

    def __post_init__(self) -> None:
        if not self.sizes:
            raise ModelError("sizes must name at least one size, such as 576x1024")
        if self.size_multiple < 1:
            raise ModelError(f"size_multiple must be positive, not {self.size_multiple}")
        for size in self.sizes:
            if size.width % self.size_multiple or size.height % self.size_multiple:
                raise ModelError(f"size {size} is not a multiple of {self.size_multiple}")
        if (len(self.feature_mean), len(self.feature_std)) != (3, 3) or 0 in self.feature_std:
            raise ModelError("feature_mean and feature_std must be three numbers each, std not 0")
        if self.channels_per_group is not None and self.channels_per_group < 1:
            raise ModelError(f"channels_per_group must be positive, not {self.channels_per_group}")
        learned_scale = self.control_network.learned_scale
        if self.injection.gate != "none" and not learned_scale:
            raise ModelError(
                f"injection.gate {self.injection.gate} needs a control network with learned_scale: "
                "true"
            )
        if (self.family == "svd") == (self.micro_conditions == NO_CONDITIONS):
            raise ModelError(
                "micro_conditions are for models on Stable Video Diffusion, each of them"
            )
        if self.adds_image_latents and self.scheduler.get("prediction_type") != "v_prediction":
            raise ModelError("adds_image_latents needs a scheduler of prediction_type v_prediction")
        if self.distilled_levels is not None and (
            self.family != "svd" or self.distilled_levels < 2
        ):
            raise ModelError(
                "distilled_levels are two or more, of a model on Stable Video Diffusion"
            )
        self._check_sampling()
        self._check_files()

    def _check_sampling(self) -> None:
        stated = _changed(self.sampling)
        missing = [name for name in _STATED if name not in stated]
        if missing:
            raise ModelError(f"sampling lacks {', '.join(missing)}; a variant states each")
        extra = sorted(stated.keys() - {*_STATED, *_MAY_STATE})
        if extra:
            raise ModelError(
                f"sampling sets {', '.join(extra)}, which a request decides; a variant states "
                f"{', '.join((*_STATED, *_MAY_STATE))}"
            )

    @property
    def control_network(self) -> ControlNetworkConfig:
        """Sizes of the control network, whichever its kind. Raises `ModelError` for none or two."""
        sections = [getattr(self, name) for name in CONTROL_SECTIONS]
        stated = [section for section in sections if section is not None]
        if len(stated) != 1:
            raise ModelError(
                f"a variant has one control network, in a section {' or '.join(CONTROL_SECTIONS)}"
                f", not {len(stated)}"
            )
        config: ControlNetworkConfig = stated[0]
        return config

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the networks that the model is made of."""
        face = () if self.face is None else ("face_encoder",)
        return (*COMPONENTS, *EXTRA_COMPONENTS[self.family], *face)

    def _check_files(self) -> None:
        if sorted(self.components) != sorted(self.networks):
            raise ModelError(
                f"components must be {', '.join(self.networks)}, not {', '.join(self.components)}"
            )
        stated = sum(len(source.digests) for source in self.sources.values()) + len(self.digests)
        used = [file.path for file in self.files() if file.digest]
        if len(used) != stated:
            raise ModelError("digests name a file that no component has")

    @property
    def defaults(self) -> SamplingOptions[Never]:
        """The sampling options of a request that leaves all of them open."""
        stated = _changed(self.sampling)
        usual: dict[str, Any] = {**_MAY_STATE, **stated, "control_weight": self.injection.weight}
        complete: Any = replace(self.sampling, **usual)
        return complete

    def file(self, reference: str) -> ModelFile:
        """The file that a component means by `path` or `source:path`."""
        return ModelFile.of(reference, self.sources, self.folder, self.digests)

    def files(self) -> Iterator[ModelFile]:
        """Every file that the variant needs, each once."""
        seen = set()
        for component in self.components.values():
            for reference in component.references:
                if reference not in seen:
                    seen.add(reference)
                    yield self.file(reference)

    def missing(self) -> list[ModelFile]:
        """Files that are not on this machine."""
        return [file for file in self.files() if file.locate() is None]

    def to_dict(self) -> dict[str, object]:
        """The variant as its YAML file has it."""
        sampling = plain(_changed(self.sampling))
        values = {name: value for name, value in plain(self).items() if name != "folder"}
        return {**values, "sampling": sampling}


def _changed(sampling: SamplingOptions) -> dict[str, object]:
    """Sampling options by name that are not as they are by default."""
    values = {item.name: (getattr(sampling, item.name), item.default) for item in fields(sampling)}
    return {name: value for name, (value, default) in values.items() if value != default}


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """A variant and the sentence that says why it was taken."""

    variant: ModelVariant
    reason: str


def shipped_config(name: str, family: Family = "svd") -> Path:
    """The published sizes of a network of a family, for files that come without."""
    return configs_folder() / "models" / family / f"{name}.json"


def bundled_folder() -> Path:
    """The folder of the bundled model."""
    return Path(__file__).resolve().parent / _BUNDLED


def variant_names() -> list[str]:
    """Names of the variants that this installation knows, the bundled one first."""
    named = sorted(path.stem for path in (configs_folder() / "models").glob("*.yaml"))
    return [_BUNDLED, *named]


def list_variants() -> list[ModelVariant]:
    """The variants that this installation knows, the bundled one first."""
    return [load_variant(name) for name in variant_names()]


def load_variant(name: str | Path) -> ModelVariant:
    """The variant of that name, or the one in that folder.

    A name wins over a folder of the same name; write `./NAME` for the folder. Raises `ModelError`
    when there is neither, or its file has a fault.
    """
    if str(name) in variant_names():
        if str(name) == _BUNDLED:
            return read_variant(bundled_folder() / VARIANT_FILE)
        return read_variant(configs_folder() / "models" / f"{name}.yaml")
    folder = Path(name)
    if folder.is_dir():
        if not (folder / VARIANT_FILE).is_file():
            raise ModelError(
                f"model folder {folder} has no {VARIANT_FILE} that describes it; `cnx models "
                f"import {folder} NAME` makes a model folder of files that other programs keep"
            )
        return read_variant(folder / VARIANT_FILE)
    if folder.is_file():
        raise ModelError(
            f"{folder} is a file, not a model; `cnx models import {folder} NAME` makes a model "
            "folder of a checkpoint"
        )
    known = ["auto", *variant_names()]
    raise ModelError(
        f"no model is called {str(name)!r} and no folder is there{nearest(str(name), known)} "
        f"(known: {', '.join(known)}; or a folder with a {VARIANT_FILE}; models for stills: "
        "cnx still --list)"
    )


def check_model_inside(name: str | Path, roots: Sequence[Path]) -> None:
    """Raise `ModelError` where a model's own files lie outside all of the resolved `roots`.

    Models that this installation knows by name lie where it put them. Of a folder, links and paths
    such as `../x` are followed, before anything in it is read.
    """
    if str(name) in ("auto", *variant_names()):
        return
    folder = Path(name)
    description = folder / VARIANT_FILE
    _check_inside(folder, name, roots)
    _check_inside(description, name, roots)
    if not description.is_file():
        load_variant(name)  # says what is wrong
    for file in read_variant(description).files():
        if file.source is None:
            _check_inside(folder / file.path, name, roots)


def _check_inside(path: Path, name: str | Path, roots: Sequence[Path]) -> None:
    real = real_path(path)
    if not any(real.is_relative_to(root) for root in roots):
        link = f", which is really {real}," if real != path else ""
        raise ModelError(
            f"model {name}: {path}{link} lies outside the allowed --root "
            f"{listed(roots)}; copy it inside"
        )


def lookup_name(variant: ModelVariant) -> str:
    """The name that `load_variant` takes for this variant, from anywhere: its own folder's path, or
    its name."""
    if variant.folder is None or variant.folder == real_path(bundled_folder()):
        return variant.name
    return str(variant.folder)


def read_variant(path: Path) -> ModelVariant:
    """The variant that a YAML file describes. Raises `ModelError` naming the file and the fault."""
    values = read_yaml(path, ModelError)
    if "folder" in values:
        raise ModelError(f"{path}: unknown setting 'folder'; the file's own folder is meant")
    folder = real_path(path).parent if path.name == VARIANT_FILE else None
    return build(ModelVariant, {**upgraded(values), "folder": folder}, str(path), ModelError)


def upgraded(values: Mapping[str, Any]) -> dict[str, Any]:
    """A variant's plain values, with the names of earlier versions replaced by today's.

    They called the hook point `place`, with "mid" for "mid-input", and a weight on the
    unconditional half implied that it gets control.
    """
    injection = values.get("injection")
    if not isinstance(injection, Mapping) or "place" not in injection:
        return dict(values)
    current = {name: value for name, value in injection.items() if name != "place"}
    point = injection["place"]
    current["hook_point"] = "mid-input" if point == "mid" else point
    if current.get("unconditional"):
        current.setdefault("halves", "both")
    else:
        current.pop("unconditional", None)
    return {**values, "injection": current}


def resolve(name: str | Path) -> Resolution:
    """The variant to use for `name`, and why.

    "auto" takes the best published variant when all its files are on this machine and the bundled
    one otherwise; nothing is ever fetched.
    """
    if str(name) != "auto":
        return Resolution(variant=load_variant(name), reason=f"{name} was asked for")
    best = load_variant(_BEST)
    missing = best.missing()
    if not missing:
        return Resolution(variant=best, reason="its weights are on this machine")
    return Resolution(
        variant=load_variant(_BUNDLED),
        reason=(
            f"the bundled toy model, as the weights of {_BEST} are not on this machine; "
            f"`cnx models fetch {_BEST}` gets them"
        ),
    )
