"""Models for stills as data: network, injection, files, and the stock pipeline they serve.

A model is a YAML file, `configs/stills/NAME.yaml`, or `still.yaml` in a diffusers folder.
Three designs of ControlNeXt were published, and their checkpoints are not interchangeable. The
diffusers pipeline of a family is called and hooked, never changed; nothing heavy is imported before
one is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from animate.errors import ModelError
from animate.files import real_path
from animate.models.config import ControlNeXtConfig, Injection, Source
from animate.models.store import ModelFile
from animate.request.presets import configs_folder
from animate.request.schema import build
from animate.request.values import Size
from animate.request.wording import listed, nearest
from animate.request.yaml_file import read_yaml

Family = Literal["sd15", "sdxl"]
UNetWeights = Literal["absolute", "increments"]
STILL_FILE = "still.yaml"
PIPELINE_FILE = "model_index.json"
_BUNDLED = "tiny-still"
_BEST = "controlnext-sd15"


@dataclass(frozen=True, kw_only=True)
class PipelineClasses:
    """Names of diffusers' pipelines of a family, and the parts that they may run without."""

    text_to_image: str
    image_to_image: str
    optional: tuple[str, ...]


FAMILIES: dict[Family, PipelineClasses] = {
    "sd15": PipelineClasses(
        text_to_image="StableDiffusionPipeline",
        image_to_image="StableDiffusionImg2ImgPipeline",
        optional=("text_encoder", "tokenizer", "safety_checker", "feature_extractor"),
    ),
    "sdxl": PipelineClasses(
        text_to_image="StableDiffusionXLPipeline",
        image_to_image="StableDiffusionXLImg2ImgPipeline",
        optional=("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Files of one set of weights of a design: `path` in its folder, or `source:path`."""

    controlnext: str
    """The control network."""
    unet: str = ""
    """The UNet's weights that were trained with it; empty where the base has them already."""


@dataclass(frozen=True, kw_only=True)
class StillDesign:
    """Everything that is particular to one model for stills."""

    name: str
    summary: str
    """One sentence on what it is."""
    family: Family
    """Kind of the base model."""
    sizes: tuple[Size, ...]
    """Sizes (width, height) that the base was trained on; the first is the default."""
    steps: int
    guidance: float
    scheduler: str
    """Class in diffusers; it takes over the settings of the base's own scheduler."""
    unet_weights: UNetWeights
    """"absolute": the design's UNet file replaces the base's weights of the same names;
    "increments": it is added to them."""
    injection: Injection
    controlnext: ControlNeXtConfig
    pose_style: str = "published"
    """Style (of `pose.draw`) of the skeletons that its checkpoints for poses know."""
    licence: str = ""
    """Licence of weights in its own folder; each source states its own."""
    licence_url: str = ""
    sources: Mapping[str, Source] = field(default_factory=dict)
    """Repositories by the name that files call them."""
    base: tuple[str, ...] = ()
    """Files of the base model in diffusers' layout, the first of them its `model_index.json`."""
    base_variant: str | None = None
    """Diffusers' word for the precision in the names of these files, such as "fp16"."""
    checkpoints: Mapping[str, Checkpoint] = field(default_factory=dict)
    """Published weights by name, the usual first."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of files in its own folder, by path."""
    folder: Path | None = None
    """Folder of its own files, not part of the YAML."""

    def make_scheduler(self, base: Any) -> Any:
        """The design's scheduler with the settings of the base model's scheduler."""
        return getattr(import_module("diffusers"), self.scheduler).from_config(base.config)

    def assemble(self, **parts: Any) -> Any:
        """The family's stock text-to-image pipeline of these parts; text encoders and tokenizers
        may be left out where embeddings are given. Raises ModelError where a part is missing."""
        classes = FAMILIES[self.family]
        more: dict[str, object] = dict.fromkeys(classes.optional)
        if self.family == "sd15":
            more["requires_safety_checker"] = False
        try:
            kind = getattr(import_module("diffusers"), classes.text_to_image)
            return kind(**{**more, **parts})
        except (TypeError, ValueError) as reason:
            raise ModelError(f"{classes.text_to_image} cannot be assembled: {reason}") from reason

    def checkpoint(self, name: str = "") -> Checkpoint | None:
        """Its checkpoint of a name, or the usual one; None where none is published.

        Raises ModelError for an unknown name.
        """
        if not name:
            return next(iter(self.checkpoints.values()), None)
        if name not in self.checkpoints:
            raise ModelError(
                f"{self.name} has no checkpoint {name!r}{nearest(name, list(self.checkpoints))}; "
                f"there are {listed(list(self.checkpoints)) or 'none'}"
            )
        return self.checkpoints[name]

    def file(self, reference: str) -> ModelFile:
        """The file that is meant by `path` or `source:path`."""
        return ModelFile.of(reference, self.sources, self.folder, self.digests)

    def files(self, checkpoint: str = "") -> Iterator[ModelFile]:
        """Every file of the base and of one checkpoint."""
        chosen = self.checkpoint(checkpoint)
        control = (chosen.controlnext, chosen.unet) if chosen else ()
        for reference in (*self.base, *control):
            if reference:
                yield self.file(reference)

    def state(self) -> str:
        """Words that say whether its files are on this machine."""
        missing = [file for file in self.files() if file.locate() is None]
        if not self.base and not self.checkpoints:
            return "files of your own"
        if not missing:
            return "here"
        return f"{len(missing)} files not here: cnx models fetch {self.name}"

    def base_folder(self) -> Path | None:
        """The folder of its base model on this machine; None where files of it are missing."""
        if not self.base:
            return self.folder
        paths = [self.file(reference).locate() for reference in self.base]
        return None if None in paths or paths[0] is None else paths[0].parent


def bundled_still() -> Path:
    """The folder of the bundled model."""
    return Path(__file__).resolve().parent / _BUNDLED


def still_design_names() -> list[str]:
    """Names of the shipped designs, the bundled model first where its weights are there."""
    published = sorted(path.stem for path in (configs_folder() / "stills").glob("*.yaml"))
    bundled = [_BUNDLED] if (bundled_still() / STILL_FILE).is_file() else []
    return [*bundled, *published]


def load_still_design(name: str | Path) -> StillDesign:
    """The shipped design of that name, or the model in a folder.

    Raises ModelError when there is neither.
    """
    if str(name) in still_design_names():
        if str(name) == _BUNDLED:
            return read_still(bundled_still() / STILL_FILE)
        return read_still(configs_folder() / "stills" / f"{name}.yaml")
    file = Path(name) / STILL_FILE
    if file.is_file():
        return read_still(file)
    raise ModelError(
        f"no still design {str(name)!r}{nearest(str(name), still_design_names())}; there are "
        f"{', '.join(still_design_names())}"
    )


def read_still(path: Path) -> StillDesign:
    """The design that a YAML file describes. Raises ModelError naming the file and the fault."""
    values = read_yaml(path, ModelError)
    folder = real_path(path).parent if path.name == STILL_FILE else None
    return build(StillDesign, {**values, "folder": folder}, str(path), ModelError)


@dataclass(frozen=True, kw_only=True)
class StillModel:
    """A design with the files that a still is made with."""

    design: StillDesign
    base: Path
    """A folder in diffusers' layout, or a checkpoint in one file."""
    variant: str | None = None
    """Diffusers' word for the precision in the names of the base's files."""
    controlnext: Path | None = None
    unet: Path | None = None
    reason: str = ""
    """The reason why this model was taken."""


def split_name(name: str) -> tuple[str, str]:
    """A design's name and its checkpoint's from `NAME` or `NAME:CHECKPOINT`."""
    design, _, checkpoint = name.partition(":")
    return (design, checkpoint) if design in still_design_names() else (name, "")


def named_model(name: str, *, controlled: bool, base: Path | None = None) -> StillModel:
    """The model of a name, from files that are on this machine.

    controlled: its control network is needed
    base: counts in place of the design's own base
    Raises ModelError for files that are not here, with the command that fetches them.
    """
    known, checkpoint = split_name(name)
    design = load_still_design(known)
    chosen = design.checkpoint(checkpoint)
    wanted = [] if base is not None else list(design.base)
    if controlled and chosen is None:
        raise ModelError(
            f"no weights are published for {design.name}; give yours with --controlnext and --unet"
        )
    if controlled and chosen is not None:
        wanted += [reference for reference in (chosen.controlnext, chosen.unet) if reference]
    missing = [file for file in map(design.file, wanted) if file.locate() is None]
    if missing:
        files = listed([str(file) for file in missing])
        raise ModelError(
            f"{name}: {len(missing)} files are not on this machine ({files}); `cnx models fetch "
            f"{name}` gets them, or name yours with --base, --controlnext and --unet"
        )
    folder = base or design.base_folder()
    assert folder is not None, "nothing of the base is missing"
    used = chosen if controlled else None
    return StillModel(
        design=design,
        base=folder,
        variant=None if base is not None else design.base_variant,
        controlnext=design.file(used.controlnext).locate() if used else None,
        unet=design.file(used.unet).locate() if used and used.unet else None,
        reason=f"{name} was asked for",
    )


def usual_model(*, controlled: bool) -> StillModel:
    """The model that `auto` takes: the published one where its files are here, else the bundled.

    Raises ModelError where neither is.
    """
    design = load_still_design(_BEST)
    if all(file.locate() is not None for file in design.files()):
        return named_model(_BEST, controlled=controlled)
    if _BUNDLED in still_design_names():
        return named_model(_BUNDLED, controlled=controlled)
    raise ModelError(
        f"no model for stills is on this machine; `cnx models fetch {_BEST}` gets one, or name "
        "yours with --base"
    )
