"""Designs of ControlNeXt for stills as data: network, injection, and the stock pipeline they serve.

A design is a YAML file, `configs/stills/NAME.yaml`. Three were published, and their checkpoints are
not interchangeable. The diffusers pipeline of a family is called and hooked, never changed; nothing
heavy is imported before one is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from animate.errors import ModelError
from animate.models.config import ControlNeXtConfig, Injection
from animate.request.presets import configs_folder
from animate.request.schema import build
from animate.request.values import Size
from animate.request.wording import nearest
from animate.request.yaml_file import read_yaml

Family = Literal["sd15", "sdxl"]
UNetWeights = Literal["absolute", "increments"]


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
class StillDesign:
    """Everything that is particular to one published design."""

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

    def make_scheduler(self, base: Any) -> Any:
        """The design's scheduler with the settings of the base model's scheduler."""
        return getattr(import_module("diffusers"), self.scheduler).from_config(base.config)

    def assemble(self, **parts: Any) -> Any:
        """The family's stock text-to-image pipeline of these parts; text encoders and tokenizers
        may be left out where embeddings are given. Raises ModelError where a part is missing."""
        classes = FAMILIES[self.family]
        more: dict[str, Any] = dict.fromkeys(classes.optional)
        if self.family == "sd15":
            more["requires_safety_checker"] = False
        try:
            kind = getattr(import_module("diffusers"), classes.text_to_image)
            return kind(**{**more, **parts})
        except (TypeError, ValueError) as reason:
            raise ModelError(f"{classes.text_to_image} cannot be assembled: {reason}") from reason


def still_design_names() -> list[str]:
    """Names of the shipped designs."""
    return sorted(path.stem for path in (configs_folder() / "stills").glob("*.yaml"))


def load_still_design(name: str) -> StillDesign:
    """The shipped design of that name. Raises ModelError when there is none."""
    if name not in still_design_names():
        raise ModelError(
            f"no still design {name!r}{nearest(name, still_design_names())}; there are "
            f"{', '.join(still_design_names())}"
        )
    path = configs_folder() / "stills" / f"{name}.yaml"
    return build(StillDesign, read_yaml(path, ModelError), str(path), ModelError)
